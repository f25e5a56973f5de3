# Fresh Debian or Ubuntu machine (x86-64, Python 3.11 to 3.13), no ROS, no GPU: `make setup`, then `make demo`.
#
# Choices, on the command line or in the environment. Left out, what .venv already holds stays; else the default:
#   ROS_DISTRO      jazzy (default) or kilted
#   PYTHON          the interpreter, e.g. python3.12; default: the first that fits of python3, python3.13, python3.12, python3.11
#   TORCH_PIP_ARGS  extra arguments of `pip install torch==...`, to choose its build. The default build brings several GB
#                   of CUDA libraries. For the small CPU build: TORCH_PIP_ARGS='--index-url ADDRESS', with the address that
#                   PyTorch's installation page gives for CPU, or TORCH_PIP_ARGS='--find-links FOLDER' with its wheel there.

.PHONY: help setup demo test soak lint lock clean
.DEFAULT_GOAL := help

# A ROS distribution sourced in the shell announces its packages by these; mixed with ours they crash or lie.
unexport PYTHONPATH PYTHONHOME LD_LIBRARY_PATH AMENT_PREFIX_PATH AMENT_CURRENT_PREFIX CMAKE_PREFIX_PATH COLCON_PREFIX_PATH
unexport COLCON_CURRENT_PREFIX PKG_CONFIG_PATH ROS_PACKAGE_PATH ROS_VERSION ROS_PYTHON_VERSION RMW_IMPLEMENTATION
# Set inside a ROS wheel's interpreter: inherited, it would keep ours from finding its libraries.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
# .venv is made without bytecode; forbidden to write it, each process would translate again whatever it imports.
unexport PYTHONDONTWRITEBYTECODE

help:   ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

setup:  ## .venv with ROS 2, packages of messages, PyTorch and this package; nothing to do when it is up to date
	@sh env/setup.sh

demo: setup  ## the real node on real photographs
	@.venv/bin/diffcut_demo

test: setup  ## all tests, three at a time: most wait for nodes to start and messages to come
	@.venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

soak: setup  ## the tests that take minutes: a soak of the node, every tau of many hierarchies; not part of `make test`
	@.venv/bin/python -m pytest -m slow

lint: setup  ## style and types; .venv/bin/ruff format puts most of the style right
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

lock: setup  ## exact versions anew from env/requirements.in, for every supported Python
	@sh env/lock.sh

clean:  ## removes .venv and everything built
	@rm -rf .venv build install log *.egg-info .pytest_cache .ruff_cache .mypy_cache
