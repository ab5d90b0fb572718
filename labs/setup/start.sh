#!/bin/sh
# Where `make` runs a command: on this machine (labs/setup/bootstrap.py), or in a container.
#
#     sh labs/setup/start.sh lab 9c       ENGINE=docker, podman or none says where; without it:
#
# - on Linux: here;
# - on WSL 2: in a container if there is an engine, for that distribution may be any; else here;
# - elsewhere (macOS): in a container, for Mininet runs on Linux only.
#
# This is a shell script, so that only make and an engine are needed. The container gets
# this folder, to read the project from and to write runs/ to, the files that a variable names,
# the folder of labs/records/state.py, and the rights below; docs/container.md says what each is for.
#
# Exit status: that of the command; 3 if it cannot be run here; 2 wrong usage; 125 to 127 the
# engine's own, when it could not start the container.
set -eu

main() {
  [ $# -gt 0 ] || stop 2 "usage: sh labs/setup/start.sh COMMAND…"
  case ${ENGINE:=$(suitable_engine)} in
    none) run_here "$@" ;;
    docker | podman) ;;
    *) stop 2 "ENGINE=$ENGINE: it can be docker, podman or none" ;;
  esac
  cd "$(dirname "$0")/../.."
  can_be_shown "$PWD"
  require_engine
  choose_user
  build "$(stage_for "$1")"
  run_in_container "$@"
}

suitable_engine() {
  case $(uname -sr) in
    Linux*[Mm]icrosoft*) first_engine || echo none ;;
    Linux*) echo none ;;
    *) first_engine || echo docker ;;  # whose absence is then explained
  esac
}

first_engine() {
  for engine in docker podman; do
    command -v "$engine" > /dev/null && echo "$engine" && return
  done
  return 1
}

run_here() {
  system=$(uname -s)
  [ "$system" = Linux ] || stop 3 "ENGINE=none: Mininet runs on Linux only, and this is $system"
  # The distribution's Python, for only that one's Mininet is the distribution's.
  [ -x /usr/bin/python3 ] || stop 3 "/usr/bin/python3 is missing: install the package python3"
  exec /usr/bin/python3 -I "$(dirname "$0")/bootstrap.py" "$@"
}

# --- the engine ----------------------------------------------------------------------------

require_engine() {
  if ! command -v "$ENGINE" > /dev/null; then
    stop 3 "$ENGINE is not installed. $(how_to_install)"
  fi
  # By the server, which for Docker, and on macOS, is another program or machine.
  if ! refused=$("$ENGINE" info 2>&1 > /dev/null); then
    stop 3 "$ENGINE does not answer:
    $(echo "$refused" | tail -n 1)
$(how_to_start "$refused")"
  fi
}

how_to_install() {
  case $(uname -s):$ENGINE in
    Darwin:docker) echo "Install Docker Desktop (docs.docker.com/desktop), or podman: brew install podman" ;;
    Darwin:podman) echo "Type: brew install podman && podman machine init && podman machine start" ;;
    *:docker) echo "Type: sudo apt-get install docker.io (Fedora: sudo dnf install moby-engine; Arch: sudo pacman -S docker), or use ENGINE=podman" ;;
    *) echo "Type: sudo apt-get install podman uidmap slirp4netns (Fedora: sudo dnf install podman; Arch: sudo pacman -S podman)" ;;
  esac
}

how_to_start() {
  case $(uname -s):$ENGINE:$1 in
    *:docker:*ermission\ denied*)
      echo "Your user may not use Docker. Type: sudo usermod -aG docker $(id -un), then log in anew
(who may use Docker is as good as root on this machine), or use ENGINE=podman, which needs no such right" ;;
    Linux:docker:*) echo "Start it: sudo systemctl start docker (on WSL: start Docker Desktop in Windows)" ;;
    *:docker:*) echo "Start Docker Desktop, then try again" ;;
    Linux:*) echo "What \`podman info\` says tells more. A user needs lines in /etc/subuid and /etc/subgid" ;;
    *) echo "Type: podman machine init; podman machine start" ;;
  esac
}

# The user inside is the owner of this folder, so that runs/ stays theirs. This user has no
# capability; a user namespace gives the sandbox what it needs. Where the kernel refuses that to
# users, the container must run as root with capabilities.
choose_user() {
  user=$(id -u):$(id -g)
  if [ "$user" = 0:0 ]; then
    # shellcheck disable=SC2012  # two numbers of a folder whose name does not matter
    user=$(ls -nd . | awk '{print $3 ":" $4}')
  fi
  rootless=
  if [ "$ENGINE" = podman ]; then
    [ "$(id -u)" = 0 ] || rootless=podman
  else
    case $(docker info --format '{{.SecurityOptions}}' 2> /dev/null) in *rootless*)
      rootless=docker user=0:0 ;;  # which is you, outside
    esac
  fi
  by_root=
  if [ -z "$rootless" ] && users_have_no_namespaces; then
    by_root=yes user=0:0
    say "this kernel allows users no namespaces: the container runs as root, with capabilities"
  fi
}

users_have_no_namespaces() {
  [ "$(setting kernel.apparmor_restrict_unprivileged_userns)" = 1 ] ||
    [ "$(setting kernel.unprivileged_userns_clone)" = 0 ] ||
    [ "$(setting user.max_user_namespaces)" = 0 ]
}

setting() {
  PATH=$PATH:/usr/sbin:/sbin sysctl -n "$1" 2> /dev/null || true
}

# --- the image -----------------------------------------------------------------------------

stage_for() {
  case $1 in test | lint) echo tests ;; *) echo machine ;; esac
}

# The image's name contains a hash of its sources, so that an outdated image is not used.
build() {
  inputs=$(cat Dockerfile requirements.lock requirements-dev.lock labs/setup/bootstrap.py | cksum)
  image=napt-lab:$1-${inputs%% *}
  "$ENGINE" image inspect "$image" > /dev/null 2>&1 && return
  say "building the image $image (once; a minute or two) …"
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  trap 'exit 130' INT TERM
  if ! "$ENGINE" build --target "$1" --tag "$image" . > "$log" 2>&1; then
    tail -n 20 "$log" >&2
    stop 3 "the image could not be built; see above. It takes the network, to the registry and to Debian"
  fi
  rm -f "$log"
  trap - EXIT INT TERM
}

# --- the container -------------------------------------------------------------------------

run_in_container() {
  command=$1
  shift
  # No word of the folder's name or of an argument may be split: so all goes through "$@".
  set -- "$image" "$command" "$@"
  case $(uname -sr) in *[Mm]icrosoft*) ;; Linux*)  # else the engine's machine is another
    [ -c /dev/net/tun ] || stop 3 "this machine has no /dev/net/tun. Type: sudo modprobe tun" ;;
  esac
  set -- --device /dev/net/tun "$@"
  if [ "$rootless" = podman ]; then set -- --userns keep-id "$@"; fi
  if [ -n "$by_root" ]; then
    for capability in SYS_ADMIN NET_ADMIN NET_RAW SYS_CHROOT SETFCAP CHOWN DAC_OVERRIDE FOWNER; do
      set -- --cap-add "$capability" "$@"
    done
  else
    if [ "${user%%:*}" = 0 ]; then set -- --cap-add SETFCAP "$@"; fi
    set -- --volume /sys:/sys "$@"
    case $ENGINE in
      podman) set -- --security-opt unmask=ALL "$@" ;;
      docker) set -- --security-opt systempaths=unconfined \
        --security-opt seccomp=labs/setup/seccomp.json "$@" ;;
    esac
  fi
  if [ -z "$rootless" ]; then set -- --security-opt apparmor=unconfined "$@"; fi
  if [ -e /sys/fs/selinux/enforce ]; then set -- --security-opt label=disable "$@"; fi
  for variable in $(passed_on); do set -- --env "$variable" "$@"; done
  for file in "${TOPOLOGY:-}" "${TRANSLATOR:-}" "${RULES:-}" "${LEVEL:-}" \
    "${FOLDER:-}" "${STUDENTS:-}" "${SECRET:-}"; do
    if [ -d "$file" ]; then file=$(cd "$file" && pwd)
    elif [ -f "$file" ]; then file=$(cd "$(dirname "$file")" && pwd)/$(basename "$file")
    else continue
    fi
    case $file/ in "$PWD"/*) continue ;; esac
    can_be_shown "$file"
    set -- --volume "$file:$file:ro" "$@"
  done
  # The exercises solved and the lines typed (labs/records/state.py) outlive the container.
  state=${HOME:-/dev/null}/.local/state
  case ${XDG_STATE_HOME:-} in /*) state=$XDG_STATE_HOME ;; esac
  state=$state/napt-lab
  can_be_shown "$state"
  if mkdir -p "$state" 2> /dev/null; then
    set -- --volume "$state:/tmp/.local/state/napt-lab" "$@"
  fi
  if [ -n "${WEB:-}" ]; then
    # The live page is the one thing that can be reached, at this machine's own address.
    if [ "$WEB" = 1 ]; then WEB=8900; fi
    export WEB
    set -- --publish "127.0.0.1:$WEB:$WEB" --env NAPT_LAB_WEB_BIND=0.0.0.0 "$@"
  else
    set -- --network none "$@"
  fi
  if [ -t 0 ] && [ -t 1 ]; then set -- --tty --interactive "$@"
  elif ! [ -t 0 ]; then set -- --interactive "$@"; fi
  exec "$ENGINE" run --rm --hostname napt-lab \
    --cap-drop ALL --security-opt no-new-privileges --user "$user" --env HOME=/tmp \
    --volume "$PWD:$PWD" --workdir "$PWD" "$@"
}

# An engine reads --volume FROM:TO. (--mount would know no comma.)
can_be_shown() {
  case $1 in *:*)
    stop 3 "$1 has a colon in its name, and no container can be shown it: move it to where there is none" ;;
  esac
}

# What the commands read from the environment; the options of click say it.
passed_on() {
  echo TERM NO_COLOR CI GITHUB_ACTIONS GITHUB_WORKSPACE
  sed -n 's/.*envvar="\([A-Z_]*\)".*/\1/p' labs/*/*.py
}

# --- telling -------------------------------------------------------------------------------

say() { printf 'napt-lab: %s\n' "$1" >&2; }
stop() { say "$2"; exit "$1"; }

main "$@"
