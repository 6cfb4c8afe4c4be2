"""Files as they come: what a reader gives is made tensors of, by itself, in a batch and in workers.

Values that are masked or missing are an error, or they are NaN; they are never numbers.
"""

from __future__ import annotations

import warnings
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

import tensorlift
from against_torch.outcome import described

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # fork with threads, too
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # readers that leave a file open
]

COUNT = 6
RNG = np.random.default_rng(0)
FLOATS = RNG.standard_normal((COUNT, 5, 4)).astype(np.float32)
BYTES = RNG.integers(0, 256, (COUNT, 5, 4, 3), np.uint8)
SHORTS = RNG.integers(0, 1 << 16, (COUNT, 5, 4), np.uint16)
SAMPLES = RNG.integers(-(1 << 15), 1 << 15, (COUNT, 50, 2), np.int16)


class Format(NamedTuple):
    """How arrays get into a file, or a folder of files, and how a reader gives them back."""

    needs: str
    arrays: np.ndarray  # the file's, one for each index
    write: Callable[[Path, np.ndarray], None]
    read: Callable[[Path], Sequence[Any]]


FORMATS: dict[str, Format] = {}


def of(name, needs, arrays):
    """A class with write() and read() is a format."""

    def add(kind):
        FORMATS[name] = Format(needs, arrays, kind.write, kind.read)
        return kind

    return add


def image_hdus(path, **options):
    from astropy.io import fits

    with fits.open(path, **options) as file:
        return [hdu.data for hdu in file]


def write_images(path, arrays):
    from astropy.io import fits

    primary, *others = arrays
    fits.HDUList([fits.PrimaryHDU(primary), *map(fits.ImageHDU, others)]).writeto(path)


@of("FITS", "astropy", FLOATS)
class Fits:
    write = staticmethod(write_images)

    def read(path):
        arrays = image_hdus(path)
        assert arrays[0].dtype == np.dtype(">f4")
        return arrays


@of("FITS without memory maps", "astropy", SHORTS)
class FitsOfShorts:
    """Unsigned ones are signed ones with an offset, in FITS."""

    write = staticmethod(write_images)

    def read(path):
        return image_hdus(path, memmap=False)


@of("FITS table", "astropy", FLOATS)
class FitsTable:
    def write(path, arrays):
        from astropy.io import fits

        column = fits.Column("x", format="20E", dim="(4,5)", array=arrays)
        other = fits.Column("id", format="B", array=np.arange(COUNT))  # misaligns the next row
        fits.BinTableHDU.from_columns([other, column]).writeto(path)

    def read(path):
        from astropy.io import fits

        with fits.open(path) as file:
            return list(file[1].data["x"])


@of("NetCDF", "netCDF4", FLOATS)
class NetCdf:
    def write(path, arrays):
        write_netcdf(path, arrays)

    def read(path):
        arrays = read_netcdf(path)
        assert isinstance(arrays[0], np.ma.MaskedArray)  # it always gives those
        return arrays


def write_netcdf(path, arrays):
    import netCDF4

    with netCDF4.Dataset(path, "w") as file:
        for size, name in zip(arrays.shape, "nyx", strict=True):
            file.createDimension(name, size)
        variable = file.createVariable("v", arrays.dtype, tuple("nyx"), fill_value=-9999)
        variable[:] = arrays


def read_netcdf(path):
    import netCDF4

    with netCDF4.Dataset(path) as file:
        return [file["v"][i] for i in range(COUNT)]


@of("HDF5", "h5py", FLOATS)
class Hdf5:
    def write(path, arrays):
        import h5py

        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=arrays, chunks=(2, 5, 4), compression="gzip")

    def read(path):
        import h5py

        with h5py.File(path) as file:
            return [file["x"][i] for i in range(COUNT)]


@of("HDF5, big-endian, every second column", "h5py", FLOATS[..., ::2])
class Hdf5Columns:
    def write(path, arrays):
        import h5py

        with h5py.File(path, "w") as file:
            file["x"] = FLOATS.astype(">f4")

    def read(path):
        import h5py

        with h5py.File(path) as file:
            return [file["x"][i, :, ::2] for i in range(COUNT)]


@of("TIFF", "tifffile", SHORTS)
class Tiff:
    def write(path, arrays):
        import tifffile

        tifffile.imwrite(path, arrays, byteorder=">", photometric="minisblack")

    def read(path):
        import tifffile

        pages = tifffile.memmap(path, mode="r")
        assert not pages.flags.writeable
        assert pages.dtype == np.dtype(">u2")
        return list(pages)


def pictures(arrays, mode=None):
    """In a folder, through PIL, whose arrays are read-only."""

    class Pictures:
        def write(path, arrays):
            from PIL import Image

            path.mkdir()
            for index, array in enumerate(arrays):
                Image.fromarray(array).save(path / f"{index}.png")

        def read(path):
            from PIL import Image

            found = []
            for index in range(COUNT):
                with Image.open(path / f"{index}.png") as image:
                    found.append(np.asarray(image.convert(mode) if mode else image))
            return found

    return Pictures


of("PNG", "PIL", BYTES)(pictures(BYTES))
of("PNG of 16 bits", "PIL", SHORTS)(pictures(SHORTS))
of("PNG of black and white", "PIL", BYTES[..., 0] > 127)(pictures(BYTES[..., 0]))


@of("WAV", "wave", SAMPLES)
class Wav:
    """Read with what Python has: a buffer of bytes, and nobody may write to it."""

    def write(path, arrays):
        path.mkdir()
        for index, array in enumerate(arrays):
            with wave.open(str(path / f"{index}.wav"), "wb") as file:
                file.setnchannels(2)
                file.setsampwidth(2)
                file.setframerate(8000)
                file.writeframes(array.tobytes())

    def read(path):
        found = []
        for index in range(COUNT):
            with wave.open(str(path / f"{index}.wav"), "rb") as file:
                frames = file.readframes(file.getnframes())
            found.append(np.frombuffer(frames, "<i2").reshape(-1, 2))
        return found


@of("WAV, one channel of a memory map", "scipy", SAMPLES[..., 1])
class WavMapped:
    def write(path, arrays):
        Wav.write(path, SAMPLES)

    def read(path):
        from scipy.io import wavfile

        files = (path / f"{index}.wav" for index in range(COUNT))
        return [wavfile.read(file, mmap=True)[1][:, 1] for file in files]


@of(".npz", "numpy", FLOATS)
class Npz:
    def write(path, arrays):
        with open(path, "wb") as file:
            np.savez_compressed(
                file, **{str(i): np.asfortranarray(a) for i, a in enumerate(arrays)}
            )

    def read(path):
        with np.load(path) as file:
            return [file[str(i)] for i in range(COUNT)]


@of("memory map", "numpy", FLOATS)
class Mapped:
    def write(path, arrays):
        with open(path, "wb") as file:
            np.save(file, arrays)

    def read(path):
        return list(np.load(path, mmap_mode="r"))


@of("records of a memory map", "numpy", SAMPLES)
class MappedRecords:
    """Packed, so that most of them are misaligned."""

    dtype = np.dtype([("kind", "u1"), ("x", ">i2", (50, 2))])

    def write(path, arrays):
        records = np.zeros(COUNT, MappedRecords.dtype)
        records["x"] = arrays
        records.tofile(path)

    def read(path):
        return list(np.memmap(path, MappedRecords.dtype, "r")["x"])


COLUMN = RNG.standard_normal((COUNT, 7))


@of("Parquet", "pyarrow.parquet", COLUMN)
class Parquet:
    """Columns of a row group each, as they lie in Arrow's memory."""

    def write(path, arrays):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({str(i): array for i, array in enumerate(arrays)}), path)

    def read(path):
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        arrays = [table[str(i)].combine_chunks().to_numpy() for i in range(COUNT)]
        assert not arrays[0].flags.writeable
        return arrays


@of("Arrow, memory-mapped", "pyarrow", COLUMN)
class Arrow:
    """The columns themselves, and a slice of one."""

    def write(path, arrays):
        import pyarrow as pa

        table = pa.table({"x": arrays.ravel(), "i": np.arange(arrays.size)})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)

    def read(path):
        import pyarrow as pa

        with pa.memory_map(str(path)) as source:
            column = pa.ipc.open_file(source).read_all()["x"].combine_chunks()
        return [column.slice(7 * i, 7).to_numpy() for i in range(COUNT)]


@of("pandas, rows of a frame", "pandas", COLUMN)
class Frame:
    def write(path, arrays):
        import pandas

        pandas.DataFrame(arrays).to_csv(path, index=False)

    def read(path):
        import pandas

        frame = pandas.read_csv(path, float_precision="round_trip")
        return [frame.iloc[i].to_numpy() for i in range(COUNT)]


@of("scikit-learn's digits", "sklearn.datasets", None)
class Digits:
    def write(path, arrays):
        pass

    def read(path):
        from sklearn.datasets import load_digits

        return list(load_digits().images[:COUNT])


class Read(Dataset):
    """Reads in the process that asks for a sample."""

    def __init__(self, path, form):
        self.path, self.read = path, form.read

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return {"array": self.read(self.path)[index], "index": index}


@pytest.fixture(params=FORMATS)
def form(request):
    form = FORMATS[request.param]
    pytest.importorskip(form.needs)
    return form


@pytest.fixture
def path(form, tmp_path):
    path = tmp_path / "file"
    form.write(path, form.arrays)
    return path


def expected(form, path):
    arrays = form.arrays if form.arrays is not None else np.array(form.read(path))
    return torch.from_numpy(np.array(arrays, arrays.dtype.newbyteorder("=")))


def test_tensors(form, path):
    arrays = form.read(path)
    tensors = tensorlift.from_numpy(arrays, readonly="copy")
    assert torch.equal(torch.stack(tensors), expected(form, path))
    for tensor in tensors:
        tensor.zero_()
    if all(isinstance(array, np.ndarray) and not array.flags.writeable for array in arrays):
        # A copy was made: what was read is as it was.
        assert torch.equal(tensorlift.stack(arrays), expected(form, path))


def test_a_batch(form, path):
    batch = tensorlift.stack(form.read(path))
    assert torch.equal(batch, expected(form, path))
    wider = tensorlift.stack(form.read(path), dtype=torch.float64)
    assert torch.equal(wider, expected(form, path).double())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader(form, path, workers):
    loader = DataLoader(
        Read(path, form), batch_size=4, num_workers=workers, collate_fn=tensorlift.collate
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a copy does not say that it is read-only
        batches = list(loader)
    arrays = torch.cat([batch["array"] for batch in batches])
    assert torch.equal(arrays, expected(form, path))
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(COUNT))


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writ:UserWarning")
def test_a_batch_is_torchs_where_torch_makes_one(form, path):
    samples = list(Read(path, form))
    try:
        theirs = default_collate(samples)
    except (TypeError, ValueError):  # big-endian, of odd strides, of a class that it does not know
        return
    assert described(tensorlift.collate(samples)) == described(theirs)


# ---- what is not there


def netcdf_with_gaps(folder):
    pytest.importorskip("netCDF4")
    arrays = FLOATS.copy()
    arrays[2, 1, 1] = -9999  # the fill value
    write_netcdf(folder / "gaps.nc", arrays)
    return read_netcdf(folder / "gaps.nc")


def test_masked_values_are_an_error_everywhere(tmp_path):
    arrays = netcdf_with_gaps(tmp_path)
    assert np.ma.is_masked(arrays[2])
    for call in (tensorlift.from_numpy, tensorlift.stack, tensorlift.cat, tensorlift.pad):
        with pytest.raises(TypeError, match=r"arrays\[2\]: .*mask"):
            call(arrays)
    samples = [{"t": array} for array in arrays]
    with pytest.raises(TypeError, match=r'samples\[2\]\["t"\]: .*mask'):
        tensorlift.collate(samples)
    with pytest.raises(TypeError, match=r'samples\[2\]\["t"\]: .*mask'):
        next(iter(DataLoader(samples, 4, num_workers=1, collate_fn=tensorlift.collate)))
    with tensorlift.install(), pytest.raises(TypeError, match="mask"):
        next(iter(DataLoader(samples, 4)))
    filled = [{"t": array.filled(np.nan)} for array in arrays]
    assert tensorlift.collate(filled)["t"].isnan().nonzero().tolist() == [[2, 1, 1]]


def test_masked_values_stay_masked_where_nothing_is_made_of_them(tmp_path):
    sample = {"t": netcdf_with_gaps(tmp_path)[2]}
    for converted in (
        tensorlift.convert(sample),
        *tensorlift.DevicePrefetcher([sample], "cpu"),
    ):
        assert converted["t"] is sample["t"]


def test_nulls_of_arrow_are_nan_or_an_error():
    pa = pytest.importorskip("pyarrow")
    with_null = pa.array([1, None, 3])
    for make in (
        lambda array: tensorlift.from_numpy([array], readonly="copy")[0],
        lambda array: tensorlift.stack([array])[0],
        lambda array: tensorlift.collate([array])[0],
    ):
        tensor = make(with_null)
        assert tensor.dtype == torch.float64
        assert tensor.isnan().tolist() == [False, True, False]
        with pytest.raises(TypeError):
            make(pa.array([True, None]))
        with pytest.raises(TypeError):
            make(pa.array(["a", None]))


def test_missing_values_of_pandas_are_nan_or_an_error():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "nullable": pandas.array([1, None, 3], "Int64"),
            "float": [0.5, None, 2.5],
            "text": ["a", None, "c"],
            "flag": pandas.array([True, None, False], "boolean"),
        }
    )
    for name in ("nullable", "float"):
        (tensor,) = tensorlift.from_numpy([frame[name].to_numpy()], readonly="copy")
        assert tensor.isnan().tolist() == [False, True, False]
    for name in ("text", "flag"):
        with pytest.raises(TypeError, match=r"arrays\[0\]: "):
            tensorlift.from_numpy([frame[name].to_numpy()])
    rows = frame.to_dict("records")
    with pytest.raises((TypeError, RuntimeError), match=r"samples\[1\]\[\"nullable\"\]|NAType"):
        tensorlift.collate([{"nullable": row["nullable"]} for row in rows])
    batch = tensorlift.collate([{"float": row["float"]} for row in rows])
    assert batch["float"].isnan().tolist() == [False, True, False]


def test_blank_pixels_of_fits_are_nan(tmp_path):
    pytest.importorskip("astropy")
    from astropy.io import fits

    hdu = fits.PrimaryHDU(np.array([[1, -99], [3, 4]], np.int16))
    hdu.header["BLANK"] = -99
    hdu.header["BSCALE"] = 2.0
    hdu.writeto(tmp_path / "blank.fits")
    (image,) = image_hdus(tmp_path / "blank.fits")
    (tensor,) = tensorlift.from_numpy([image])
    assert tensor.nan_to_num(-1).tolist() == [[2, -1], [6, 8]]


# ---- tables


def test_rows_of_a_frame_in_a_loader():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "x": COLUMN[:, 0],
            "n": np.arange(COUNT, dtype=np.int32),
            "kind": pandas.Categorical(list("abacab")),
            "name": [f"n{i}" for i in range(COUNT)],
        }
    )
    frame["kind"] = frame["kind"].cat.codes
    rows = frame.to_dict("records")
    for workers in (0, 1):
        loader = DataLoader(rows, 4, num_workers=workers, collate_fn=tensorlift.collate)
        theirs = DataLoader(rows, 4, num_workers=workers)
        assert described(list(loader)) == described(list(theirs))
    columns = tensorlift.convert(
        {name: frame[name].to_numpy() for name in ("x", "n", "kind")}, readonly="copy"
    )
    assert columns["kind"].tolist() == [0, 1, 0, 2, 0, 1]


def test_a_set_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    wine = datasets.load_wine()
    rows = list(zip(wine.data, wine.target, strict=True))
    for workers in (0, 1):
        loader = DataLoader(rows, 32, num_workers=workers, collate_fn=tensorlift.collate)
        theirs = DataLoader(rows, 32, num_workers=workers)
        assert described(list(loader)) == described(list(theirs))
    data, target = tensorlift.from_numpy([wine.data, wine.target])
    assert np.shares_memory(data.numpy(), wine.data)
    assert target.unique().tolist() == [0, 1, 2]


def test_sparse_matrices_are_an_error_that_torch_has_too():
    sparse = pytest.importorskip("scipy.sparse")
    rows = [sparse.csr_matrix(np.eye(3))] * 2
    for collate in (default_collate, tensorlift.collate):
        with pytest.raises(TypeError, match="csr"):
            collate(rows)
    with pytest.raises(TypeError, match=r"arrays\[0\]: .*csr"):
        tensorlift.from_numpy(rows)
