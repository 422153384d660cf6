"""Which frames of an unlabelled recording are usual, where so many are not that memory and bulk would be theirs, too.

What is there in two fifths of a recording comes back in its episodes, and reaches into the quantiles that location and
scale are read from. The network holds: kept from learning the rare, it gives that back badly even then. So `residual`
is asked, by its lowest quarter, which is usual as long as half of the recording is. Three signs together make a
recording heavily contaminated:

- Many frames stand out in `residual`: a quarter and more, where a normal distribution has one in twenty.
- What stands out most in `residual` is remembered: in `detail` it does not. What is rare stands out in both.
- It comes and goes. What is unusual from beginning to end of a drive, or for a third of the recording, is another
  condition (night, rain, another road), and has to be learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgevad.calibration.threshold import BULK_FROM, BULK_TO, normal_line

__all__ = ["usual_frames"]

Flags = npt.NDArray[np.bool_]

# The quantiles that say where its usual values lie; up to 0.3, or from 0.05, tells nearly the same frames apart.
_LOW_FROM, _LOW_TO = 0.02, 0.25
# Deviates beyond which a frame is unusual: one in twenty of a normal distribution.
_UNUSUAL_ABOVE = 1.64
# Share of unusual frames above which they are no tail; where they are more than half, nobody knows who is usual.
_TOO_MANY, _MOST = 0.25, 0.5
# The tenth that stands out most in `residual`, and the deviate that a tenth of a normal distribution is beyond. That
# tenth's median deviate in `detail` on donkey_track_1124: 1.6 to 3.0 with 2 to 20 % of anomalies, 0.9 to 1.2 with more.
_FOREMOST, _REMEMBERED_BELOW = 0.9, 1.28
# Of each drive, and of each third of the recording, so many frames must be usual.
_USUAL_SHARE = 0.25
# A drive shorter than this says little of what is usual in it; nor does a recording of less than three of them.
_LEAST_FRAMES = 200


def usual_frames(
    windowed: npt.NDArray[np.floating],
    segments: Sequence[int] | npt.NDArray[np.integer],
    parts: Sequence[str],
    margins: Sequence[float | None],
) -> Flags | None:
    """The usual frames (N,) of a heavily contaminated recording; None where it is not, or cannot be told to be.

    `windowed` (N, P) scores of frames that are ascending in time, their segments (N,), names and margins of the parts
    (P,). Cannot be told: without `residual` and `detail`, or where another part leads them.
    """
    columns = dict(zip(parts, np.sqrt(np.maximum(np.asarray(windowed, np.float64), 0.0)).T, strict=True))
    leading = {part for part, margin in zip(parts, margins, strict=True) if margin == 0.0}
    if not {"residual", "detail"} <= leading or len(windowed) < 3 * _LEAST_FRAMES:
        return None
    residual, detail = columns["residual"], columns["detail"]
    scale, location = normal_line(residual, _LOW_FROM, _LOW_TO)
    usual = residual <= location + _UNUSUAL_ABOVE * scale
    if not _TOO_MANY < 1.0 - usual.mean() <= _MOST:
        return None
    scale, location = normal_line(detail, BULK_FROM, BULK_TO)
    foremost = residual >= np.quantile(residual, _FOREMOST)
    if np.median(detail[foremost]) >= location + _REMEMBERED_BELOW * scale:
        return None
    return usual if _comes_and_goes(usual, np.asarray(segments)) else None


def _comes_and_goes(usual: Flags, segment: npt.NDArray[np.integer]) -> bool:
    numbers, counts = np.unique(segment, return_counts=True)
    drives = [usual[segment == number] for number in numbers[counts >= _LEAST_FRAMES]]
    stretches = [*drives, *np.array_split(usual, 3)]
    return min(float(stretch.mean()) for stretch in stretches) >= _USUAL_SHARE
