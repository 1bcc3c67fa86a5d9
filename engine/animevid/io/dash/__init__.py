"""MPEG-DASH (ISO/IEC 23009-1): the manifest becomes HLS playlists, which FFmpeg reads; PyAV's has no DASH demuxer."""
