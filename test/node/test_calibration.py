import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from diffcut_ros.core import Distortion, PinholeCamera, back_project
from diffcut_ros.stream.calibration import pinhole_camera, read_calibration, scaling
from diffcut_ros.stream.inputs import calibration

SIZE_HW = 480, 640
BY_K = PinholeCamera(600, 601, 320, 240, SIZE_HW)
BY_P = PinholeCamera(500, 502, 310, 230, SIZE_HW)
LENS = (-0.36, 0.11, 0.001, 0.0005, 0.0)
# Of a USB camera, as camera_calibration wrote it: K, distortion, R and P.
USB_K = [438.783367, 0.0, 305.593336, 0.0, 437.302876, 243.738352, 0.0, 0.0, 1.0]
USB_D = [-0.361976, 0.110510, 0.001014, 0.000505, 0.0]
USB_R = [0.999978, 0.002789, -0.006046, -0.002816, 0.999986, -0.004401, 0.006034, 0.004417, 0.999972]
USB_P = [393.6538, 0.0, 322.797939, 0.0, 0.0, 393.6538, 241.090902, 0.0, 0.0, 0.0, 1.0, 0.0]


def camera_info(k=True, p=True, d=(), model='plumb_bob', **more) -> CameraInfo:
    info = CameraInfo(width=640, height=480, d=list(d), distortion_model=model, **more)
    if k:
        info.k = [600.0, 0.0, 320.0, 0.0, 601.0, 240.0, 0.0, 0.0, 1.0]
    if p:
        info.p = [500.0, 0.0, 310.0, -40.0, 0.0, 502.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


RAW, RECTIFIED = ('/camera/image_raw', 'optical'), ('/camera/image_rect', 'optical')


@pytest.mark.parametrize(
    ('names', 'rectified'),
    [
        (RAW, False),
        ((), False),
        (('/camera/image', ''), False),
        (('/direct/rectangle/unrectified', 'correct'), False),
        (RECTIFIED, True),
        (('/left/image_rect_color', ''), True),
        (('/left/image_rect/compressed', ''), True),
        (('/zed/rgb/color/rect/image', ''), True),
        (('/camera/rectified_image', ''), True),
        (('/Camera/Image_RECT', ''), True),
        (('/camera/image', 'left_rect_optical'), True),
    ],
)
def test_names_say_whether_an_image_is_rectified(names, rectified):
    camera, note = read_calibration(camera_info(), 'auto', names)
    assert camera == (BY_P if rectified else BY_K)
    assert bool(note) is not rectified
    assert pinhole_camera(camera_info(), 'K', names) == BY_K
    assert pinhole_camera(camera_info(), 'P', names) == BY_P


def test_distortion_goes_with_k():
    camera, note = read_calibration(camera_info(d=LENS), 'auto', RAW)
    assert camera == PinholeCamera(600, 601, 320, 240, SIZE_HW, Distortion('plumb_bob', LENS))
    assert 'K of camera_info, with its distortion (plumb_bob)' in note
    assert 'calibration: P' in note
    assert read_calibration(camera_info(d=LENS), 'K', RECTIFIED) == (camera, '')  # asked for: nothing guessed
    assert read_calibration(camera_info(d=LENS), 'auto', RECTIFIED) == (BY_P, '')
    assert read_calibration(camera_info(d=LENS), 'P', RAW) == (BY_P, '')
    assert pinhole_camera(camera_info(d=LENS[:4], model='fisheye'), 'K').distortion.model == 'equidistant'


@pytest.mark.parametrize('d', [(), (0.0,) * 5, (0.0,) * 8])
def test_no_distortion_is_none(d):
    assert read_calibration(camera_info(p=False, d=d), 'auto', RAW) == (BY_K, '')


@pytest.mark.parametrize(
    ('model', 'd', 'reason'),
    [
        ('omni', LENS, "expected one of the models plumb_bob, .* received 'omni'"),
        ('', (0.1,) * 8, "received ''"),
        ('equidistant', (0.1,) * 5, 'at most 4 coefficients other than 0, received'),
        ('rational_polynomial', (0.1,) * 14, 'at most 12 coefficients other than 0, received'),
        ('plumb_bob', (np.nan,) * 5, 'finite coefficients'),
    ],
)
def test_a_distortion_that_is_not_known_is_left_out_and_told(model, d, reason):
    camera, note = read_calibration(camera_info(d=d, model=model), 'auto', RAW)
    assert camera == BY_K
    with pytest.raises(ValueError, match=f'positions by K of camera_info without its distortion: .*{reason}'):
        raise ValueError(note)


@pytest.mark.parametrize(
    ('model', 'd', 'known', 'most'),
    [
        ('rational_polynomial', (*LENS, 0.1, 0.0, 0.02, *[0.0] * 6), 'rational_polynomial', 12),
        ('equidistant', (0.1, 0.01, 0.0, 0.0, 0.0), 'equidistant', 4),
        (' Plumb_Bob', LENS, 'plumb_bob', 5),
        ('FISHEYE', LENS[:4], 'equidistant', 4),
    ],
)
def test_zeros_beyond_a_model_and_capitals_change_nothing(model, d, known, most):
    camera, note = read_calibration(camera_info(d=d, model=model), 'K')
    assert note == ''
    assert camera.distortion.model == known
    directions = np.array([[0.1, -0.2], [0.3, 0.1]])
    bent = camera.distortion.bend(directions)
    assert np.array_equal(bent, Distortion(known, d[:most]).bend(directions))
    assert np.abs(camera.distortion.unbend(bent) - directions).max() < 1e-4


def test_a_model_without_a_name_is_taken_as_plumb_bob_and_told():
    camera, note = read_calibration(camera_info(d=LENS, model=''), 'auto', RAW)
    assert camera.distortion == Distortion('plumb_bob', LENS)
    assert 'distortion_model of camera_info is empty: taken as plumb_bob; positions by K' in note
    assert read_calibration(camera_info(d=LENS, model=''), 'K')[1].endswith('taken as plumb_bob')


def test_what_is_missing_is_taken_from_the_other_and_told():
    camera, note = read_calibration(camera_info(k=False, d=LENS), 'auto', RAW)
    assert camera == BY_P
    assert note == 'camera_info has no K: positions by P, without distortion'
    camera, note = read_calibration(camera_info(p=False, d=LENS), 'auto', RECTIFIED)
    assert camera == BY_K
    assert note == 'camera_info has no P: positions by K, without distortion'


@pytest.mark.parametrize('calibration', ['auto', 'K', 'P'])
def test_uncalibrated_camera(calibration):
    with pytest.raises(ValueError, match='received 0 and 0: camera_info is uncalibrated'):
        pinhole_camera(CameraInfo(width=640, height=480), calibration)


@pytest.mark.parametrize(('calibration', 'camera'), [('K', BY_K), ('P', BY_P)])
def test_camera_of_a_part_of_the_sensor(calibration, camera):
    roi = RegionOfInterest(x_offset=100, y_offset=40, width=320, height=240)
    part = pinhole_camera(camera_info(roi=roi), calibration)
    assert part == PinholeCamera(camera.fx, camera.fy, camera.cx - 100, camera.cy - 40, (240, 320))


@pytest.mark.parametrize('part', [None, (160, 120, 320, 240)])
@pytest.mark.parametrize('size_hw', [(480, 640), (240, 320)])
def test_a_raw_image_and_its_rectified_one_give_the_same_places(size_hw, part):
    info = CameraInfo(width=640, height=480, k=USB_K, d=USB_D, r=USB_R, p=USB_P, distortion_model='plumb_bob')
    x, y = 0, 0
    if part is not None:
        x, y, width, height = part
        info.roi = RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height)
    camera = pinhole_camera(info, 'K').scaled_to(size_hw)
    points = back_project(np.full(size_hw, 2.0, np.float32), camera).reshape(-1, 3)
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    # Where each pixel of the raw image is in the rectified one, by OpenCV from the calibration alone.
    step = (part[2] if part else 640) / size_hw[1]
    raw = np.stack([(columns + 0.5) * step - 0.5 + x, (rows + 0.5) * step - 0.5 + y], -1).reshape(-1, 1, 2)
    k, r, p = np.reshape(USB_K, (3, 3)), np.reshape(USB_R, (3, 3)), np.reshape(USB_P, (3, 4))
    rectified = cv2.undistortPointsIter(raw, k, np.array(USB_D), r, p, (3, 100, 1e-6))[:, 0]
    # The same places, in the rectified camera's frame.
    seen_from_it = points.astype(float) @ r.T @ p[:, :3].T
    assert np.abs(seen_from_it[:, :2] / seen_from_it[:, 2:] - rectified).max() < 0.02


def test_a_size_that_is_not_said_is_the_images_and_told():
    info = camera_info(d=LENS)
    info.width = info.height = 0
    camera, note = read_calibration(info, 'K', RAW, SIZE_HW)
    assert camera == pinhole_camera(camera_info(d=LENS), 'K')
    assert note == "camera_info has no width and height: the image's, 640 x 480"
    assert read_calibration(camera_info(d=LENS), 'K', RAW, (240, 320)) == (camera, '')


def test_that_a_calibration_is_scaled_is_told_unless_the_camera_has_binned():
    def told(image_hw: tuple[int, int], **values) -> str:
        info = camera_info(d=LENS)
        for name, value in values.items():
            setattr(info, name, value)
        return scaling(info, pinhole_camera(info, 'K', RAW), image_hw)

    assert told(SIZE_HW) == told((240, 320), binning_x=2, binning_y=2) == ''
    scaled = 'camera_info is for 640x480, images have 320x240: K is scaled by 0.5 (wrong if images are cropped)'
    assert told((240, 320)) == scaled
    part = RegionOfInterest(x_offset=10, y_offset=10, width=320, height=240)
    assert told((240, 320), roi=part) == ''
    assert told((120, 160), roi=part, binning_x=2, binning_y=2) == ''
    assert 'is for 320x240, images have 640x480: K is scaled by 2 ' in told(SIZE_HW, roi=part)
    info = camera_info(d=LENS)
    assert 'P is scaled by 0.5' in scaling(info, pinhole_camera(info, 'P', RAW), (240, 320))


def test_a_calibration_with_nan_is_equal_to_itself():
    infos = [camera_info(d=LENS) for _ in range(3)]
    for info in infos[:2]:
        info.k[0] = np.nan
    assert calibration(infos[0]) == calibration(infos[1])
    assert calibration(infos[0]) != calibration(infos[2])
