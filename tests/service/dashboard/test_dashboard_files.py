"""Templates and scripts of the dashboard: nothing in them needs another server or a weaker policy."""

import re
from pathlib import Path

from service.dashboard import rendering


def test_scripts_of_ours_name_no_other_server():
    for file in Path(rendering.FOLDER).glob("*.js"):
        if ".min." not in file.name:
            assert "://" not in file.read_text(), file


def test_no_page_has_styles_or_handlers_that_its_policy_would_refuse():
    for file in Path(rendering.FOLDER).parent.glob("templates/*.html"):
        assert not re.search(r"\sstyle=|\son[a-z]+=|<style", file.read_text()), file
