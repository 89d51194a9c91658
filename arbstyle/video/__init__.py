"""Video: frames of a film, an animated picture or a folder, painted one after the other.

- :mod:`~arbstyle.video.stylizer`: a generator over frames, wherever they come from;
- :mod:`~arbstyle.video.reading` and :mod:`~arbstyle.video.pictures`: where frames come from;
- :mod:`~arbstyle.video.outputs` and :mod:`~arbstyle.video.encoding`: where they go;
- :mod:`~arbstyle.video.job`: one clip from file to file, which can be interrupted and resumed.
"""

from arbstyle.video.stylizer import VideoStylizer

__all__ = ["VideoStylizer"]
