"""A build of eight steps, each with something that a file system can get wrong, and the directory it is built in.

Everything in it that depends on the time is told one, or removed: two builds give the same bytes.
"""

import os
import shutil
from pathlib import Path

from tests.engines.saved import Saved, read
from tests.support import debian
from tests.support.podman import Engine

BASE, BUILT = "localhost/debian", "localhost/built"
EPOCH = 1_700_000_000
_ENVIRONMENT = f"""
ENV DEBIAN_FRONTEND=noninteractive SOURCE_DATE_EPOCH={EPOCH} LC_ALL=C.UTF-8 \\
    GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_AUTHOR_DATE="{EPOCH} +0000" \\
    GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_COMMITTER_DATE="{EPOCH} +0000"
"""
TEXT = f"""
FROM BASE AS tools
RUN mkdir -p /opt/tools/bin /opt/tools/empty && printf '#!/bin/sh\\necho tool\\n' > /opt/tools/bin/tool \\
    && chmod 4755 /opt/tools/bin/tool && ln -s bin/tool /opt/tools/current && chmod 1777 /opt/tools/empty \\
    && mkfifo -m 640 /opt/tools/fifo && chown 12:34 /opt/tools/fifo && ln /opt/tools/bin/tool /opt/tools/bin/same

FROM BASE
{_ENVIRONMENT.strip()}
COPY debs /debs
RUN apt-get install --no-install-recommends -qqy /debs/*.deb \\
    && rm -rf /var/log/apt /var/log/*.log /var/cache/ldconfig/aux-cache /var/cache/apt/*.bin
RUN useradd --create-home --uid 1500 --shell /bin/sh worker && passwd --delete worker && rm -f /var/log/lastlog /etc/*-
RUN cd /srv && git init -q project && cd project && cp -r /usr/share/perl5 files && git add . && git commit -qm first \\
    && git mv files/Debconf moved && git commit -qm second && git clone -q --bare . ../copy.git && git gc -q \\
    && rm .git/index && cd .. && mv project/files project/renamed
RUN rm -rf /debs /usr/share/git-core && mkdir /usr/share/git-core && echo new > /usr/share/git-core/only
RUN mv /usr/share/perl5 /opt/perl5 && mv /usr/share/bash-completion /usr/share/base-files /opt/ \\
    && mkdir /usr/share/perl5 && chmod 700 /usr/share/bug
COPY --chown=worker:worker files /home/worker/files
COPY --from=tools /opt/tools /opt/tools
RUN mkdir /tree && cd /tree && for a in $(seq 40); do mkdir $a && echo $a > $a/file && chmod 60$((a % 8)) $a/file; \\
    done && cp -al /tree /linked && cp -al /tree /linked/again && chown 1500:7 /linked/1/file \\
    && echo more >> /tree/2/file && rm /linked/again/3/file
"""


def write(directory: Path, base: str) -> Path:
    """The directory, with the file ``Containerfile``; ``base``: the name of the image with the small Debian."""
    directory.mkdir(parents=True)
    (directory / "Containerfile").write_text(TEXT.replace("BASE", base))
    shutil.copytree(debian.packages(), directory / "debs", ignore=shutil.ignore_patterns("lock"))
    files = directory / "files"
    (files / "deep/er").mkdir(parents=True)
    (files / "deep/er/text").write_text("text\n")
    (files / "program").write_text("#!/bin/sh\n")
    (files / "program").chmod(0o751)
    (files / "link").symlink_to("deep/er/text")
    (files / "sparse").touch()
    os.truncate(files / "sparse", 1 << 20)
    for path in [directory, *directory.rglob("*")]:
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    return directory


def build(engine: Engine, builder: str, image: str = "") -> Saved:
    """Pull the base (``image``, where it has another name for the user), build, and read what was built."""
    context = write(engine.place / "context", BASE)
    engine.give(context)
    engine.podman("pull", "--quiet", image or debian.image())
    engine.podman("tag", engine.podman("images", "--quiet").strip(), BASE)
    engine.build("--tag", BUILT, str(context), builder=builder)
    engine.podman("save", "--quiet", "-o", str(engine.place / "saved"), BUILT)
    return read(engine.place / "saved")
