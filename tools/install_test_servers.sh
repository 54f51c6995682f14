#!/usr/bin/env bash
# Installs what tests start and break on purpose, from Debian: an RTSP server, a browser, a broker, a registry, a sound
# server, Prometheus, a clock to turn. Where that is not allowed the tests that need them skip themselves and say so.
set -euo pipefail

packages=(gir1.2-gst-rtsp-server-1.0 python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-tools gstreamer1.0-plugins-base
  gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav libasound2-data
  docker-registry mosquitto faketime openssl prometheus pulseaudio skopeo strace)
# Ubuntu's chromium is a snap, which needs a running snapd: there the browser test is left out.
apt-cache policy chromium 2> /dev/null | grep -q snap || packages+=(chromium)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get > /dev/null; then
  echo "install_test_servers.sh: no apt-get here: live tests that need ${missing[*]} are left out"
  exit 0
fi
sudo=
if [ "$(id -u)" != 0 ]; then
  if ! sudo -n true 2> /dev/null; then
    echo "install_test_servers.sh: not allowed to install ${missing[*]}: live tests that need them are left out"
    exit 0
  fi
  sudo=sudo
fi
# Servers that Debian starts by itself are not wanted: the tests start their own, elsewhere. One that was here stays.
services() {
  for service in mosquitto docker-registry prometheus; do
    if command -v systemctl > /dev/null && [[ " ${missing[*]} " == *" $service "* ]]; then
      $sudo systemctl "$@" "$service" > /dev/null 2>&1 || true
    fi
  done
}
echo "install_test_servers.sh: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q > /dev/null || true
services mask --runtime
for attempt in 1 2 3; do
  $sudo apt-get install -y -q --no-install-recommends "${missing[@]}" > /dev/null && break
  echo "install_test_servers.sh: attempt $attempt failed"
  sleep 5
done
services disable --now
services unmask --runtime
