"""ENVI headers: finding header and data of a cube, the fields of a header, and what they say about bands and map.

Names do not decide: the header is found beside the data file under any case and with or without its suffix, the data file by
the field `data file`, by a usual suffix, or as the only file of that stem with the promised size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workbench.data.readers import text
from workbench.data.readers.cube import nanometres, widths
from workbench.data.readers.files import Look, first_bytes, inside
from workbench.data.readers.lists import joined, numbers_of
from workbench.data.roots import admit_beside
from workbench.errors import InputError

SUFFIXES = ("", ".dat", ".img", ".raw", ".bsq", ".bil", ".bip", ".bin", ".envi")
DTYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 6: "c8", 9: "c16", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
LIMIT = 16 * 2**20  # bytes; headers of 10 000 bands with names stay below 1 MB
_NO_DATA = {  # suffixes of files that are not the data of a header
    *(".hdr", ".xml", ".txt", ".prj", ".ovr", ".json", ".sta", ".enp", ".csv", ".kml", ".pdf"),
    *(".zip", ".msk", ".jgw", ".pgw", ".tfw", ".md5", ".jpg", ".png"),
}
_UNREAD = {
    "data offset values": "applied",
    "data reflectance gain values": "applied",
    "data reflectance offset values": "applied",
    "geo points": "used",
    "rpc info": "used",
}
_DATUMS = {  # names in headers, without spaces and signs -> EPSG code of the geographic CRS
    4326: "wgs84|worldgeodeticsystem1984|wgs1984|dwgs1984",
    4322: "wgs72|worldgeodeticsystem1972",
    4267: "northamerica1927|northamerican1927|nad27|nad1927|northamericandatum1927",
    4269: "northamerica1983|northamerican1983|nad83|nad1983|northamericandatum1983",
    4230: "european1950|europeandatum1950|ed50|ed1950",
    4258: "etrs89|etrs1989|europeanterrestrialreferencesystem1989",
    4283: "gda94|gda1994|geocentricdatumofaustralia1994",
    7844: "gda2020",
    4277: "osgb36|osgb1936|ordnancesurveyofgreatbritain36|ordnancesurveyofgreatbritain1936",
    4301: "tokyo|tokyomean",
    4284: "pulkovo1942",
    4618: "southamerican1969|southamericandatum1969|sad69",
    4674: "sirgas2000",
    4612: "jgd2000",
    4167: "nzgd2000",
    4490: "cgcs2000|chinageodeticcoordinatesystem2000",
    4214: "beijing1954",
    4610: "xian1980",
    4209: "arc1950",
    4240: "indian1975",
}  # fmt: skip
_DATUM = {name: code for code, names in _DATUMS.items() for name in names.split("|")}
_UTM = {  # EPSG code of the geographic CRS -> codes of UTM zone 0 north and south
    4326: (32600, 32700),
    4322: (32200, 32300),
    4267: (26700, None),
    4269: (26900, None),
    4230: (23000, None),
    4258: (25800, None),
}


@dataclass(frozen=True)
class Pair:
    """Header and data file of an ENVI cube, the fields of the header, and notes on how the two were found."""

    header: Path
    data: Path
    fields: Mapping[str, str]
    notes: tuple[str, ...] = ()


class Bands(NamedTuple):
    """(band) wavelength and fwhm in nm, good; None where the header does not state them."""

    wavelength: np.ndarray | None
    fwhm: np.ndarray | None
    good: np.ndarray | None


# --- finding ----------------------------------------------------------------------------------------------------------


def is_header(look: Look) -> bool:
    """Whether a file is an ENVI header: it begins with ENVI, after a byte order mark and spaces, in UTF-8 or UTF-16; or it has
    the suffix .hdr, so that a damaged header gets its own error.
    """
    if not look.is_file:
        return False
    return (look.suffix == ".hdr" and not look.kind) or says_envi(look.head)


def says_envi(head: bytes) -> bool:
    """Whether these first bytes are text that begins with the line ENVI."""
    try:
        found = text.decode(head[:256], "", otherwise="latin-1").lstrip()
    except UnicodeDecodeError:
        return False
    return bool(re.match(r"ENVI\s*[\r\n]", found))


def pair(look: Look) -> Pair:
    """The ENVI cube named by its header or data file. InputError where one is missing, or the header is not valid."""
    found = _pair(look)
    admit_beside(found.header, found.data)
    return found


def _pair(look: Look) -> Pair:
    path = look.path
    if not is_header(look):
        header = header_of(path)
        if header is None:
            raise InputError(f"{path} has no ENVI header; put {path.name}.hdr next to it.")
        return Pair(header, path, parse(header))
    fields = fields_of(look.begin(LIMIT + 1), path)
    named = fields.get("data file")
    if named is not None:
        if Path(named).name != named or "\\" in named or named in ("", ".", ".."):
            raise InputError(
                f"{path.name} names the data file {named!r}; only a file in the folder of the header is opened. Put it there and "
                "give its bare name."
            )
        beside = next((p.with_name(named) for p in _places(path) if p.with_name(named).is_file()), None)
        if beside is None:
            raise InputError(
                f"{path} is an ENVI header without its data: there is no {named} beside it. Put the data file there."
            )
        return Pair(path, beside, fields)
    known, others = _candidates(path)
    needed = _promised(fields)
    fitting = [p for p in (*known, *others) if needed is not None and p.stat().st_size == needed]
    if not fitting and known:
        return Pair(path, known[0], fields)  # of another size: the reader says how many bytes it lacks, or has too many
    if not fitting and len(others) == 1 and needed is not None and _kind(others[0]) == "TIFF":
        fitting = others
    if not fitting:
        found = ", ".join(f"{p.name} ({p.stat().st_size} bytes)" for p in others[:5]) or "no other file of that name"
        raise InputError(
            f"{path} is an ENVI header without its data: there is no {_base(path).name} beside it, with or without a suffix like "
            f".dat or .img{'' if needed is None else f', and no other of {needed} bytes'}; found: {found}. Put the data file "
            "there, or give it by its own name."
        )
    notes = []
    if len(fitting) > 1:
        notes.append(
            f"data file {fitting[0].name}; {', '.join(p.name for p in fitting[1:])} would fit the header too (give that file to use it)"
        )
    elif fitting[0] not in known:
        notes.append(f"data file {fitting[0].name}, the only one beside the header that fits it")
    return Pair(path, fitting[0], fields, tuple(notes))


def _places(path: Path) -> list[Path]:
    """The path as given, and the target of a link: companions are looked for beside the first, then beside the second."""
    given = path.absolute()
    return [given, given.resolve()] if given.is_symlink() else [given]


def _base(header: Path) -> Path:
    return header.with_suffix("")


def _candidates(header: Path) -> tuple[list[Path], list[Path]]:
    """Files that may be the data of a header: with a usual suffix, in the order of `SUFFIXES`, and other files of its stem."""
    known: list[Path] = []
    others: list[Path] = []
    for place in _places(header):
        stem = _base(place).name.lower()
        same = [p for p in inside(place.parent) if p.name.lower().startswith(stem) and p != place and p.is_file()]
        usual = {stem + suffix: i for i, suffix in enumerate(SUFFIXES)}
        known += sorted((p for p in same if p.name.lower() in usual), key=lambda p: (usual[p.name.lower()], p.name))
        stems = {stem, Path(stem).stem} if "." in stem else {stem}
        others += [p for p in same if p not in known and p.stem.lower() in stems and p.suffix.lower() not in _NO_DATA]
    return known, others


def header_of(data: Path) -> Path | None:
    """The header beside a data file: `X.dat.hdr`, or `X.hdr` for `X.dat`, in any case; beside a link, then beside its target."""
    for place in _places(data):
        for name in (place.name + ".hdr", place.stem + ".hdr"):
            for header in (place.with_name(name), place.with_name(name[:-4] + ".HDR")):
                if header.is_file():
                    return header
            other = next((p for p in inside(place.parent) if p.name.lower() == name.lower() and p.is_file()), None)
            if other is not None:
                return other
    return None


def _kind(path: Path) -> str:
    with Look(path) as look:
        return look.kind


def _promised(fields: Mapping[str, str]) -> int | None:
    """Bytes of the data file that a header describes; None where its numbers are not valid."""
    try:
        columns, rows, bands = (int(fields[n]) for n in ("samples", "lines", "bands"))
        width = np.dtype(DTYPES[int(fields["data type"])]).itemsize
        return int(fields.get("header offset") or 0) + columns * rows * bands * width
    except (KeyError, ValueError):
        return None


_OTHER_NAMES = ("wavelengths", "center wavelength", "center wavelengths", "central wavelength", "central wavelengths")
_ONCE = {  # fields that decide the values; with two of them nobody knows which is right
    *("samples", "lines", "bands", "header offset", "data type", "interleave", "byte order"),
    *("data ignore value", "reflectance scale factor", "wavelength", "wavelength units", "bbl", "map info"),
}


# --- fields -----------------------------------------------------------------------------------------------------------


def parse(header: Path) -> dict[str, str]:
    """The fields of an ENVI header, names in lower case, without braces."""
    return fields_of(first_bytes(header, LIMIT + 1), header)


def fields_of(content: bytes, header: Path) -> dict[str, str]:
    """The fields in the bytes of a header. Raises InputError where it does not begin with ENVI."""
    if len(content) > LIMIT:
        raise InputError(f"{header} is not an ENVI header: it is larger than {LIMIT // 2**20} MB of text.")
    words = text.decode(content, str(header), otherwise="latin-1")
    if not words.lstrip().startswith("ENVI"):
        raise InputError(
            f"{header} does not begin with the word ENVI; it is not an ENVI header. It begins with {words.lstrip()[:30]!r}."
        )
    lines = [one for one in words.split("\n") if not one.lstrip().startswith(";")]
    last = max(
        (i for i, one in enumerate(lines) if "}" in one), default=-1
    )  # a brace that opens after this line is never closed
    fields: dict[str, str] = {}
    rest = iter(range(len(lines)))
    for i in rest:
        name, equals, value = lines[i].partition("=")
        name = " ".join(name.split()).lower()
        if not equals or not name or "{" in name or "}" in name:
            continue
        value = value.strip()
        if not value and i < last and lines[i + 1].lstrip().startswith("{"):  # the brace stands in the next line
            value = lines[next(rest)].strip()
        if value.startswith("{") and "}" not in value and i < last:
            parts = [value]
            for j in rest:
                parts.append(lines[j])
                if "}" in lines[j]:
                    break
            value = "\n".join(parts)
        if value.startswith("{"):
            value = value[1:].partition("}")[0]
        if name in _ONCE and fields.get(name, value.strip()) != value.strip():
            raise InputError(
                f"{header.name} states {name!r} twice: {fields[name][:40]} and {value.strip()[:40]}. Keep the right line."
            )
        fields[name] = value.strip()
    return fields


def count(fields: Mapping[str, str], name: str, header: Path, at_least: int = 1, default: int | None = None) -> int:
    """A whole number among the fields; InputError for another value, or without value and default."""
    value = fields.get(name) or None
    if value is None and default is not None:
        return default
    if value is None:
        raise InputError(f"{header.name} has no {name!r}, which ENVI requires. Add the line, or use the right header.")
    if not re.fullmatch(r"[+-]?\d{1,15}", value) or int(value) < at_least:
        raise InputError(
            f"{header.name}: {name} = {value[:40]!r} must be a whole number of at least {at_least}. Correct the header."
        )
    return int(value)


def number(fields: Mapping[str, str], name: str, header: Path) -> float | None:
    """A number among the fields, or None where the field is absent or empty."""
    if not fields.get(name):
        return None
    if re.fullmatch(r"(?i)[-+]?(1\.)?#?(nan|ind|qnan|snan).*", fields[name]):  # as C libraries of Windows write it
        return np.nan
    try:
        return float(fields[name])
    except ValueError:
        raise InputError(f"{header.name}: {name} = {fields[name][:40]!r} is not a number. Correct the header.") from None


def numbers(fields: Mapping[str, str], name: str, notes: list[str], bands: int | None = None) -> list[float] | None:
    """A list field, or None where it is absent or has other values than numbers (with a note). See `lists.numbers_of`."""
    if not fields.get(name):
        return None
    try:
        found, told = numbers_of(fields[name], bands)
    except ValueError:
        notes.append(f"{name} ignored: not all of its values are numbers")
        return None
    notes += [f"{name} {told}"] if told else []
    return found


# --- meaning ----------------------------------------------------------------------------------------------------------


def bands_of(fields: Mapping[str, str], bands: int, notes: list[str]) -> Bands:
    """Wavelengths, fwhm and good bands of a header for a cube of so many bands."""
    name = next((n for n in ("wavelength", *_OTHER_NAMES) if fields.get(n)), "wavelength")
    raw = numbers(fields, name, notes, bands)
    if raw is not None and name != "wavelength":
        notes.append(f"wavelengths taken from the field {name!r}, which ENVI calls 'wavelength'")
    unit = next((fields[n] for n in ("wavelength units", "wavelength unit", f"{name} units") if n in fields), "")
    wave = None if raw is None else nanometres(raw, unit, bands, notes)
    spread = numbers(fields, "fwhm", notes, bands)
    if spread is not None and raw is None:
        notes.append("fwhm ignored: the header has no wavelengths")
    fwhm = None if spread is None or raw is None else widths(spread, wave, raw)
    good = None
    flags = numbers(fields, "bbl", notes, bands)
    if flags is not None and len(flags) == bands:
        good = np.array(flags) != 0
        if not good.all():
            notes.append(f"{int((~good).sum())} of {bands} bands are marked bad in the header (bbl)")
    elif flags is not None:
        notes.append(f"bad-band list ignored: it has {len(flags)} values for {bands} bands")
    return Bands(wave, fwhm, good)


def scale_of(fields: Mapping[str, str], header: Path, notes: list[str]) -> float:
    """The factor of the stored values: 1 over the `reflectance scale factor`; and notes on fields that are not applied."""
    factor = 1.0
    scale = number(fields, "reflectance scale factor", header)
    if scale is not None:
        if not np.isfinite(scale) or scale <= 0:
            raise InputError(f"{header.name}: reflectance scale factor = {scale:g} must be above 0. Correct the header.")
        factor = 1 / scale
        if scale != 1:
            notes.append(f"values divided by the header's reflectance scale factor {scale:g}")
    if "data gain values" in fields:
        notes.append("data gain values of the header were not applied: the cube holds the stored numbers")
    notes += [f"{name} of the header were not {done}" for name, done in _UNREAD.items() if fields.get(name)]
    return factor


def beside(path: Path, shape: Sequence[int], notes: list[str]) -> tuple[Path, dict[str, str]] | None:
    """The ENVI header beside an image of another format, where it describes an image of this shape (bands, rows, columns).

    A header that describes another image, or cannot be read, is named in the notes.
    """
    header = header_of(path)
    if header is not None:
        admit_beside(path, header)  # a link may lead out of the folders that a server opens
    if header is None or not says_envi(first_bytes(header, 256)):
        if header is not None:
            notes.append(f"{header.name} beside {path.name} is not an ENVI header and was not read")
        return None
    try:
        fields = parse(header)
        described = tuple(count(fields, name, header) for name in ("bands", "lines", "samples"))
    except InputError as error:
        notes.append(f"{header.name} beside {path.name} was not read: {error}")
        return None
    if described != tuple(shape):
        notes.append(
            f"{header.name} beside {path.name} was not read: it describes {' x '.join(map(str, described))} (bands, rows, columns)"
        )
        return None
    return header, fields


def map_of(
    fields: Mapping[str, str], rows: int, columns: int, notes: list[str]
) -> tuple[np.ndarray | None, np.ndarray | None, str | None]:
    """x and y of pixel centres and the CRS, from `map info` and `coordinate system string`; three None without a map."""
    info = joined([v.strip() for v in fields.get("map info", "").split(",")], notes)
    if info is None:
        return None, None, None
    if len(info) < 7:
        if fields.get("map info"):
            notes.append("map info ignored: it has fewer than seven values, so x and y count pixels")
        return None, None, None
    if info[0].lower() == "arbitrary":
        return None, None, None
    try:
        column, row, east, north, dx, dy = map(float, info[1:7])
    except ValueError:
        notes.append("map info ignored: not all of its numbers can be read")
        return None, None, None
    if not np.isfinite([column, row, east, north, dx, dy]).all():
        notes.append("map info ignored: not all of its numbers are finite")
        return None, None, None
    turn = next((v.partition("=")[2].strip() for v in info if v.lower().startswith("rotation")), "0")
    crs = _crs(fields.get("coordinate system string", ""), info, notes)
    if crs is None or dx <= 0 or dy <= 0 or turn.strip("0.-+"):
        notes.append("map info ignored: its coordinate system or rotation is not supported, so x and y count pixels")
        return None, None, None
    # the reference pixel (1, 1) is the upper left corner of the first pixel
    x = east + (np.arange(columns) + 1.5 - column) * dx
    y = north - (np.arange(rows) + 1.5 - row) * dy
    return x, y, crs


def _crs(wkt: str, info: list[str], notes: list[str]) -> str | None:
    """The CRS of `coordinate system string`, else of `map info`; where the two contradict each other the first, with a note."""
    import pyproj

    placed, why = _from_info(info)
    if not wkt:
        notes += [why] if why else []
        return placed
    try:
        stated = pyproj.CRS.from_wkt(wkt)
    except pyproj.exceptions.CRSError:
        notes.append(f"coordinate system string not understood{', map info was used' if placed else ''}: {wkt[:60]!r}")
        return placed
    if placed is None:
        return stated.to_wkt()
    other = pyproj.CRS.from_user_input(placed)
    if _agree(stated, other):
        return placed
    notes.append(
        f"map info ({other.name}) and coordinate system string ({stated.name}) contradict each other; the second was taken"
    )
    return stated.to_wkt()


def _agree(one: Any, two: Any) -> bool:
    """Whether two CRS are of one kind, UTM zone and ellipsoid (a difference that map info can state)."""
    if one.is_geographic != two.is_geographic or (one.utm_zone or two.utm_zone) != (two.utm_zone or one.utm_zone):
        return False
    a, b = one.ellipsoid, two.ellipsoid
    if a is None or b is None:
        return False
    return (
        math.isclose(a.semi_major_metre, b.semi_major_metre, rel_tol=1e-9)
        and math.isclose(a.inverse_flattening, b.inverse_flattening, rel_tol=1e-7)
        and _same_datum(one, two)
    )


def _same_datum(one: Any, two: Any) -> bool:
    """Datums of one ellipsoid (NAD83 and ETRS89) are compared by name; unknown names count as equal."""
    names = [_DATUM.get(_plain(c.geodetic_crs.name)) or _DATUM.get(_plain(c.geodetic_crs.datum.name)) for c in (one, two)]
    return None in names or names[0] == names[1]


def _plain(name: str) -> str:
    return re.sub(r"^(gcs|d)_", "", name.strip().lower()).replace("_", "").translate(_SIGNS)


_SIGNS = {ord(c): None for c in " -.'`_/()"}


def _from_info(info: list[str]) -> tuple[str | None, str]:
    """The CRS that `map info` itself names, and a note on what it does not say."""
    import pyproj

    kind = info[0].lower()
    units = next((v.partition("=")[2].strip().lower() for v in info if v.lower().startswith("units")), "")
    named = [(_plain(v), v) for v in info[7:] if "=" not in v]
    code = next((_DATUM[n] for n, _ in named if n in _DATUM), None)
    given = (
        info[9]
        if kind == "utm" and len(info) > 9 and "=" not in info[9]
        else info[7]
        if kind != "utm" and len(info) > 7 and "=" not in info[7]
        else ""
    )
    if kind == "geographic lat/lon":
        if given and code is None:
            return None, f"map info names the datum {given!r}, which is not known"
        if units and not units.startswith("deg"):
            return None, f"map info gives {units!r} as the unit of longitude and latitude"
        return f"EPSG:{code or 4326}", "" if code else "map info names no datum; WGS-84 was taken"
    if kind != "utm" or len(info) < 9:
        return None, ""
    zone = int(info[7]) if re.fullmatch("-?[0-9]{1,2}", info[7]) else 0
    north = info[8].lower().startswith("n")
    if zone < 0 and north:
        return None, f"map info names the zone {zone}, which is south, and the northern half"
    zone = abs(zone)  # some programs write southern zones as negative numbers
    if not 1 <= zone <= 60:
        return None, ""
    if code is None:
        return None, f"map info names the datum {given!r}, which is not known" if given else "map info names no datum"
    if units and not units.startswith(("met", "m")):
        return None, f"map info gives {units!r} as the unit of a UTM map"
    series = _UTM.get(code, (None, None))[0 if north else 1]
    try:
        if series is not None and code in (4326, 4322):
            return f"EPSG:{series + zone}", ""
        if series is not None:
            return pyproj.CRS.from_epsg(series + zone).to_wkt(), ""
    except pyproj.exceptions.CRSError:
        pass
    conversion = pyproj.crs.coordinate_operation.UTMConversion(str(zone), "N" if north else "S")
    return pyproj.crs.ProjectedCRS(conversion, geodetic_crs=pyproj.CRS.from_epsg(code)).to_wkt(), ""
