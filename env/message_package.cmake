# Compiles messages; becomes the CMakeLists.txt of each package that message_packages.py generates, which gives its NAME
# and its DEPENDENCIES.
cmake_minimum_required(VERSION 3.21)
project(${NAME})

find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
foreach(dependency IN LISTS DEPENDENCIES)
  find_package(${dependency} REQUIRED)
endforeach()

# The ROS wheels name Python's include folders as they were on the machine that built them, and CMake refuses a folder
# that does not exist. Nothing is lost without: the generators look up this interpreter's own.
get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
foreach(target IN LISTS targets)
  get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
  if(folders)
    foreach(folder IN LISTS folders)
      if(IS_ABSOLUTE "${folder}" AND NOT EXISTS "${folder}")
        list(REMOVE_ITEM folders "${folder}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${folders}")
  endif()
endforeach()

# rclpy reaches messages through C alone; without the C++ generators the build takes half the time.
list(FILTER AMENT_EXTENSIONS_rosidl_generate_idl_interfaces EXCLUDE REGEX "^[^:]*_cpp:")

file(GLOB messages RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} msg/*.msg)
rosidl_generate_interfaces(${PROJECT_NAME} ${messages} DEPENDENCIES ${DEPENDENCIES})

ament_export_dependencies(rosidl_default_runtime)
ament_package()
