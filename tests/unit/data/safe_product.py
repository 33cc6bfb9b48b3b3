"""Writes a small SAFE folder that follows the Sentinel-1 product specification (S1-RS-MDA-52-7441), for tests: GENERATED data."""

import warnings
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import rasterio

START = datetime(2021, 4, 1, 5, 26, 24)
INTERVAL = 0.0020555563


def write(
    parent: Path,
    pixels: dict[str, np.ndarray],
    *,
    kind: str = "GRD",
    swath: str = "IW",
    bursts: int = 0,
    apart: float = 2.75,
    gain=lambda line, sample: 300 + 0.5 * sample - 0.25 * line,
    noise=None,
    old_noise: bool = False,
    invalid: int = 0,
    name: str = "S1A_IW_TEST.SAFE",
) -> Path:
    """A product with one measurement per polarization. gain, noise: functions of line and sample, sampled at the nodes of the
    annotation. invalid: samples and lines at the border of each burst marked as not valid. apart: seconds between the beginnings of two
    bursts."""
    folder = parent / name
    for sub in ("annotation/calibration", "measurement"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    (folder / "manifest.safe").write_text(MANIFEST)
    for i, (polarization, values) in enumerate(pixels.items(), 1):
        stem = (
            f"s1a-{swath.lower()}-{kind.lower()}-{polarization.lower()}-20210401t052624-20210401t052649-026269-032297-00{i}"
        )
        high, wide = values.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            dtype = "uint16" if kind == "GRD" else "complex_int16"
            shape = {"height": high, "width": wide, "count": 1, "dtype": dtype}
            with rasterio.open(folder / "measurement" / f"{stem}.tiff", "w", driver="GTiff", **shape) as file:
                file.write(values.astype("uint16" if kind == "GRD" else "complex64"), 1)
        (folder / "annotation" / f"{stem}.xml").write_text(
            annotation(high, wide, kind, swath, polarization, bursts, invalid, apart)
        )
        for what, table in (("calibration", gain), ("noise", noise)):
            if table is not None:
                text = (calibration if what == "calibration" else old if old_noise else new)(high, wide, table, swath)
                (folder / "annotation" / "calibration" / f"{what}-{stem}.xml").write_text(text)
    return folder


def nodes(high: int, wide: int) -> tuple[list[int], list[int]]:
    """Lines before, in and beyond the image, as in real products; samples every 40, and the last."""
    return [-7, *range(0, high, 11), high + 5], [*range(0, wide - 1, 40), wide - 1]


def vector(line: int, samples: list[int], **lists: list[float]) -> str:
    body = "".join(f'<{k} count="{len(v)}">{" ".join(f"{x:.9e}" for x in v)}</{k}>' for k, v in lists.items())
    when = (START + timedelta(seconds=INTERVAL * line)).isoformat()
    return f"<azimuthTime>{when}</azimuthTime><line>{line}</line>" + (
        f'<pixel count="{len(samples)}">{" ".join(map(str, samples))}</pixel>{body}'
    )


def calibration(high, wide, gain, swath) -> str:
    lines, samples = nodes(high, wide)
    vectors = []
    for n in lines:
        sigma = [gain(n, s) for s in samples]
        lists = {"sigmaNought": sigma, "betaNought": [237.0] * len(samples), "gamma": [0.9 * v for v in sigma], "dn": sigma}
        vectors.append(f"<calibrationVector>{vector(n, samples, **lists)}</calibrationVector>")
    return (
        f"<calibration><adsHeader/><calibrationInformation><absoluteCalibrationConstant>1.393</absoluteCalibrationConstant>"
        f'</calibrationInformation><calibrationVectorList count="{len(vectors)}">{"".join(vectors)}</calibrationVectorList></calibration>'
    )


def old(high, wide, noise, swath) -> str:
    lines, samples = nodes(high, wide)
    vectors = [f"<noiseVector>{vector(n, samples, noiseLut=[noise(n, s) for s in samples])}</noiseVector>" for n in lines]
    return f'<noise><adsHeader/><noiseVectorList count="{len(vectors)}">{"".join(vectors)}</noiseVectorList></noise>'


def new(high, wide, noise, swath) -> str:
    """Range vectors, and an azimuth factor of 1 + line / 100 on the left half of the image only."""
    lines, samples = nodes(high, wide)
    vectors = [
        f"<noiseRangeVector>{vector(n, samples, noiseRangeLut=[noise(n, s) for s in samples])}</noiseRangeVector>"
        for n in lines
    ]
    at = [*range(0, high - 1, 10), high - 1]
    block = (
        f"<noiseAzimuthVector><swath>{swath}1</swath><firstAzimuthLine>0</firstAzimuthLine><firstRangeSample>0</firstRangeSample>"
        f"<lastAzimuthLine>{high - 1}</lastAzimuthLine><lastRangeSample>{wide // 2 - 1}</lastRangeSample>"
        f'<line count="{len(at)}">{" ".join(map(str, at))}</line>'
        f'<noiseAzimuthLut count="{len(at)}">{" ".join(f"{1 + a / 100:.9e}" for a in at)}</noiseAzimuthLut></noiseAzimuthVector>'
    )
    return (
        f'<noise><adsHeader/><noiseRangeVectorList count="{len(vectors)}">{"".join(vectors)}</noiseRangeVectorList>'
        f'<noiseAzimuthVectorList count="1">{block}</noiseAzimuthVectorList></noise>'
    )


def annotation(high, wide, kind, swath, polarization, bursts, invalid, apart) -> str:
    stop = START + timedelta(seconds=INTERVAL * (high - 1))
    per = high // bursts if bursts else 0
    listed = ""
    for b in range(bursts):
        dead = [n < invalid or n >= per - invalid for n in range(per)]
        first = " ".join("-1" if d else str(invalid) for d in dead)
        last = " ".join("-1" if d else str(wide - 1 - invalid) for d in dead)
        when = (START + timedelta(seconds=apart * b)).isoformat()
        listed += (
            f"<burst><azimuthTime>{when}</azimuthTime><firstValidSample count='{per}'>{first}</firstValidSample>"
            f"<lastValidSample count='{per}'>{last}</lastValidSample></burst>"
        )

    def seconds(n: int) -> float:
        """Of a line after the first."""
        return n // per * apart + n % per * INTERVAL if bursts else n * INTERVAL

    rows = [*range(0, high, per), high - 1] if bursts else [0, high // 2, high - 1]
    grid = "".join(
        f"<geolocationGridPoint><azimuthTime>{(START + timedelta(seconds=seconds(n))).isoformat()}</azimuthTime>"
        f"<slantRangeTime>0.0053</slantRangeTime><line>{n}</line><pixel>{s}</pixel>"
        f"<latitude>{47 - 0.001 * round(seconds(n) / INTERVAL, 6)}</latitude><longitude>{12 - 0.002 * s}</longitude>"
        f"<height>{n + s}</height><incidenceAngle>{30 + 0.01 * s}</incidenceAngle>"
        "<elevationAngle>27</elevationAngle></geolocationGridPoint>"
        for n in rows
        for s in (0, wide // 3, wide - 1)
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<product><adsHeader><missionId>S1A</missionId><productType>{kind}</productType><polarisation>{polarization}</polarisation>
<mode>IW</mode><swath>{swath}</swath><startTime>{START.isoformat()}.794457</startTime><stopTime>{stop.isoformat()}</stopTime></adsHeader>
<generalAnnotation><productInformation><pass>Descending</pass><platformHeading>-1.65e+02</platformHeading>
<rangeSamplingRate>6.434523812571428e+07</rangeSamplingRate><radarFrequency>5.405000454334350e+09</radarFrequency></productInformation>
</generalAnnotation><imageAnnotation><imageInformation><productFirstLineUtcTime>{START.isoformat()}</productFirstLineUtcTime>
<productLastLineUtcTime>{stop.isoformat()}</productLastLineUtcTime><slantRangeTime>5.343315555380221e-03</slantRangeTime>
<rangePixelSpacing>1.000000e+01</rangePixelSpacing><azimuthPixelSpacing>1.0e+01</azimuthPixelSpacing>
<azimuthTimeInterval>{INTERVAL:.15e}</azimuthTimeInterval><numberOfSamples>{wide}</numberOfSamples><numberOfLines>{high}</numberOfLines>
<incidenceAngleMidSwath>3.89e+01</incidenceAngleMidSwath></imageInformation></imageAnnotation>
<swathTiming><linesPerBurst>{per}</linesPerBurst><samplesPerBurst>{wide if bursts else 0}</samplesPerBurst>
<burstList count="{bursts}">{listed}</burstList></swathTiming>
<geolocationGrid><geolocationGridPointList count="{3 * len(rows)}">{grid}</geolocationGridPointList></geolocationGrid></product>"""


MANIFEST = """<?xml version="1.0" encoding="UTF-8"?>
<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" xmlns:safe="http://www.esa.int/safe/sentinel-1.0"><metadataSection>
<safe:platform><safe:familyName>SENTINEL-1</safe:familyName><safe:number>A</safe:number></safe:platform>
<safe:orbitNumber type="start">26269</safe:orbitNumber><safe:startTime>2021-04-01T05:26:24</safe:startTime>
</metadataSection></xfdu:XFDU>"""
