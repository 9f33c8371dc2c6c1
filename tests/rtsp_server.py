"""Run by Debian's Python: raw BGR frames from stdin, H.264 out by RTSP (see rtsp.py)."""

from __future__ import annotations

import os
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402


class Media(GstRtspServer.RTSPMediaFactory):
    """Hands what comes to whoever looks."""

    def __init__(self, width: int, height: int, fps: int) -> None:
        super().__init__()
        self.source = None
        self.set_shared(True)
        self.set_launch(
            "( appsrc name=frames is-live=true format=time do-timestamp=true block=false"
            " max-buffers=2 leaky-type=downstream"
            f" caps=video/x-raw,format=BGR,width={width},height={height},framerate={fps}/1"
            " ! videoconvert ! video/x-raw,format=I420"
            " ! x264enc tune=zerolatency speed-preset=ultrafast bitrate=4000"
            f" key-int-max={fps} threads=1"
            " ! rtph264pay name=pay0 pt=96 config-interval=1 )"
        )

    def do_configure(self, media: GstRtspServer.RTSPMedia) -> None:
        self.source = media.get_element().get_by_name_recurse_up("frames")


def feed(factory: Media, size: int) -> None:
    while True:
        data = sys.stdin.buffer.read(size)
        if len(data) < size:
            os._exit(0)
        source = factory.source
        if source is not None:
            source.emit("push-buffer", Gst.Buffer.new_wrapped(data))


def main() -> None:
    port, width, height, fps = map(int, sys.argv[1:5])
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    factory = Media(width, height, fps)
    if len(sys.argv) > 5:
        protect(server, factory, *sys.argv[5:7])
    server.get_mount_points().add_factory("/test", factory)
    if not server.attach(None):
        raise SystemExit(f"port {port} cannot be used")
    threading.Thread(target=feed, args=(factory, 3 * width * height), daemon=True).start()
    print("ready", flush=True)
    GLib.MainLoop().run()


def protect(server: GstRtspServer.RTSPServer, factory: Media, user: str, password: str) -> None:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    factory.set_permissions(permissions)


if __name__ == "__main__":
    main()
