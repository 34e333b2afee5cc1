"""Clips: read as frames with exact times, written with sound, previewed as GIF and MP4."""

from jaxface.media.video.errors import load_av as load_av
from jaxface.media.video.previews import encode_gif as encode_gif
from jaxface.media.video.previews import encode_mp4 as encode_mp4
from jaxface.media.video.previews import ping_pong as ping_pong
