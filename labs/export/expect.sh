
# HOW is ping, tcp or http. What a try printed is in $seen.
try() {  # HOW FROM ADDRESS PORT
  case $1 in
    ping) seen=$(on "$2" ping -c 1 -W 5 "$3" 2>&1) ;;
    tcp) seen=$(on "$2" nc -z -w 5 "$3" "$4" 2>&1) ;;
    http) seen=$(on "$2" curl -sS -m 5 "http://$3:$4/" 2>&1) ;;
  esac
}

fails() { ! "$@"; }

within() {  # SECONDS COMMAND …: whether it succeeds within that time
  end=$(($(date +%s) + $1))
  shift
  until "$@"; do
    [ "$(date +%s)" -lt "$end" ] || return 1
    sleep 0.2
  done
}

listen() {  # NODE PORT: for the next check; the web server says which address it sees
  listener=$1
  pid=$(on "$1" sh -c "$python -P -m napt_lab.servers.web --port $2 > /dev/null 2>&1 & echo \$!")
}

verdict() {  # SIGN TEXT WHY
  echo "$1 $2"
  [ -z "${3:-}" ] || echo "    $3"
  [ -z "${listener:-}" ] || on "$listener" kill "$pid"
  listener=
}

holds() { verdict "$passed" "$1"; }
does_not_hold() { status=1 && verdict "$failed" "$1" "$2"; }
cannot_tell() { status=1 && verdict "$error" "$1" "control: $2; so this proves nothing"; }

reaches() {  # TEXT SECONDS HOW FROM ADDRESS PORT SEEN_AS
  if ! within "$2" try "$3" "$4" "$5" "$6"; then
    does_not_hold "$1" "$4 got no answer from $5 $6: $seen"
    return
  fi
  case $7:$seen in
    :* | *"You are $7:"*) holds "$1" ;;
    *) does_not_hold "$1" "$5 does not see $7" ;;
  esac
}

# Two controls: the target answers a neighbor of its own, and the source reaches its next hop.
cannot_reach() {  # TEXT SECONDS HOW FROM ADDRESS PORT NEXT_HOP CONTROL_HOW NEIGHBOR OWN OWN_PORT
  if ! within "$start" try "$8" "$9" "${10}" "${11}"; then
    cannot_tell "$1" "$9 does not reach ${10} ${11}: $seen"
  elif ! within "$start" try ping "$4" "$7"; then
    cannot_tell "$1" "$4 does not reach $7: $seen"
  elif within "$2" fails try "$3" "$4" "$5" "$6"; then
    holds "$1"
  else
    does_not_hold "$1" "$4 reaches $5 $6"
  fi
}
