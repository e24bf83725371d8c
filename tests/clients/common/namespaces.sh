# Sourced by a family of phones that each need a network interface of their own, with the family's name as
# FAMILY: runs FAMILY/run.py in namespaces on a bridge, as root. Names of scenarios as arguments run only those.
# As of client-tests: REFORK is the server's path, WORK an empty folder. AT_ONCE scenarios run at a time.
here=$(cd "$(dirname "$0")" && pwd)
export PATH="$PATH:/usr/sbin:/sbin"

if [ "$(id -u)" != 0 ]; then
  if sudo -n true 2>/dev/null; then exec sudo -n --preserve-env=REFORK,WORK,PATH,ASTERISK,AT_ONCE bash "$here/$FAMILY.sh" "$@"; fi
  echo "network namespaces need root, or sudo without a password" >&2
  exit 1
fi

# Each scenario has namespaces of its own, so several run at a time.
if [ "$#" != 1 ]; then
  # Apart, so that a list that cannot be had ends this script and does not pass for an empty one.
  scenarios=$(if [ "$#" = 0 ]; then python3 "$here/$FAMILY/run.py" --list; else printf '%s\n' "$@"; fi)
  echo "$scenarios" |
    xargs -P "${AT_ONCE:-3}" -I{} bash -c 'bash "$0" "$1" >"$WORK/$1.out" 2>&1; ended=$?; cat "$WORK/$1.out"; exit $ended' \
      "$here/$FAMILY.sh" {}
  exit
fi

id=rf$$
phones=(alice desk mobile carol)
cleanup() {
  local name
  for name in "$id" "${phones[@]/#/$id-}"; do ip netns delete "$name" 2>/dev/null || true; done
}
trap cleanup EXIT

# The server's namespace holds the bridge, 10.99.0.1; the phones are 10.99.0.2 and up.
ip netns add "$id"
ip -n "$id" link set lo up
ip -n "$id" link add bridge type bridge forward_delay 0
ip -n "$id" address add 10.99.0.1/24 dev bridge
ip -n "$id" link set bridge up
number=2
for phone in "${phones[@]}"; do
  ip netns add "$id-$phone"
  ip -n "$id" link add "$phone" type veth peer name eth0 netns "$id-$phone"
  ip -n "$id" link set "$phone" master bridge up
  ip -n "$id-$phone" link set lo up
  ip -n "$id-$phone" address add "10.99.0.$number/24" dev eth0
  ip -n "$id-$phone" link set eth0 up
  # linphone takes a machine without one for one without a network.
  ip -n "$id-$phone" route add default via 10.99.0.1
  number=$((number + 1))
done

NAMESPACE=$id ip netns exec "$id" python3 "$here/$FAMILY/run.py" "$@"
