# NAPT Lab in a container: docker build -t napt-lab . (or podman). `make lab-9c ENGINE=docker` does
# it all; README.md says what rights a container needs, and what for.
#
# machine   Debian with the labs' system and Python packages, without the project, which
#           labs/setup/start.sh mounts. Changes only with the lock files and with bootstrap.py.
# tests     that and what the tests and an editor need
# napt-lab  (the last, so the default) that and the project: runs by itself
#
# Pinned: the base image by digest (.github/dependabot.yml renews it), Python packages by the lock
# files' hashes. Debian's packages are not: a stable release changes only to repair security and
# grave faults, and removes what it replaces, so a version named here would soon be gone.

ARG BASE=docker.io/library/debian:trixie-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f
FROM ${BASE} AS machine
ENV LANG=C.UTF-8 NAPT_LAB_VENV=/opt/napt-lab
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && useradd --create-home --uid 1000 lab
WORKDIR /napt-lab
COPY requirements.lock requirements-dev.lock ./
COPY labs/setup/bootstrap.py labs/setup/
# The folder of links is writable for anyone, because the project may be mounted anywhere.
RUN python3 -I labs/setup/bootstrap.py --install lab \
 && mkdir -p /opt/napt-lab/import/napt_lab && chmod 777 /opt/napt-lab/import/napt_lab \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
USER lab
# Docker and podman give PID 1 to what they start; tini passes on signals and reaps.
ENTRYPOINT ["tini", "--", "/usr/bin/python3", "-I", "labs/setup/bootstrap.py"]

FROM machine AS tests
USER root
RUN python3 -I labs/setup/bootstrap.py --install test \
 && apt-get update \
 && apt-get install --yes --no-install-recommends git make \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
USER lab

FROM machine AS napt-lab
# The project is MIT; scapy, which `make bench` uses, is GPL-2.0-only. Debian's packages have theirs.
LABEL org.opencontainers.image.title="NAPT Lab" \
      org.opencontainers.image.description="A teaching lab for NAPT and peer-to-peer networking, on real packets" \
      org.opencontainers.image.licenses="MIT AND GPL-2.0-only" \
      org.opencontainers.image.base.name="docker.io/library/debian:trixie-slim"
USER root
COPY LICENSE README.md pyproject.toml ./
COPY topologies topologies
COPY nat_node nat_node
COPY servers servers
COPY labs labs
# Readable whatever the umask of the clone was; and runs/ is anybody's, for --user says who.
RUN chmod -R a+rX . && mkdir -m 1777 runs && python3 -I labs/setup/bootstrap.py --install lab
USER lab
CMD ["--help"]
