"""The browser that pages are opened in."""

import importlib.util
import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec('playwright') is None, reason='needs playwright and a Chromium'
)
