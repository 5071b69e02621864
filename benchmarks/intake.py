# SPDX-License-Identifier: Apache-2.0
"""Studies per second and peak memory of `fedxai intake dicom` beside converters, on the same series.

Each program gets the same made export (CT of integers that compress like tissue, one series a study) in a process
of its own, start included; they take turns, and a ratio is of one turn. The baseline is dcm2niix, a C program that
converts and does nothing else; the intake also hashes every file, splits patients, looks for copies and writes a
report. dicom2nifti and SimpleITK (one series after the other, written as .nii.gz) are Python users' other ways.

    python benchmarks/intake.py [--studies 6] [--slices 60] [--size 256] [--turns 3]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

PYTHON = sys.executable
ITK = """
import sys, pathlib, SimpleITK as sitk
reader = sitk.ImageSeriesReader()
for folder in sorted(p for p in pathlib.Path(sys.argv[1]).iterdir() if p.is_dir()):
    for series in reader.GetGDCMSeriesIDs(str(folder)):
        image = sitk.ReadImage(reader.GetGDCMSeriesFileNames(str(folder), series))
        sitk.WriteImage(image, f"{sys.argv[2]}/{folder.name}.nii.gz", True, 4)
"""
D2N = """
import sys, pathlib, dicom2nifti
for folder in sorted(p for p in pathlib.Path(sys.argv[1]).iterdir() if p.is_dir()):
    dicom2nifti.dicom_series_to_nifti(str(folder), f"{sys.argv[2]}/{folder.name}.nii.gz")
"""


def make_export(root: Path, *, studies: int, slices: int, size: int) -> None:
    """Write one CT series a study, and the table."""
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.sin(np.arange(size) / 9), np.cos(np.arange(size) / 13)) * 200
    lines = ["patient,label"]
    for study in range(studies):
        folder = root / "export" / f"{study:03d}"
        folder.mkdir(parents=True)
        uids = [generate_uid() for _ in range(3)]
        for k in range(slices):
            pixels = (smooth + 40 * np.sin(k / 7) + rng.normal(0, 12, (size, size))).astype(np.int16)
            _slice(pixels, k, study, uids).save_as(folder / f"{k:04d}", enforce_file_format=True)
        lines.append(f"P{study},{'ab'[study % 2]}")
    (root / "table.csv").write_text("\n".join(lines) + "\n")


def _slice(pixels: np.ndarray, k: int, study: int, uids: list[str]) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uids
    ds.PatientID, ds.PatientName, ds.Modality, ds.InstanceNumber = f"P{study}", "X", "CT", k + 1
    ds.SeriesNumber, ds.ImageType, ds.Manufacturer = 1, ["ORIGINAL", "PRIMARY", "AXIAL"], "X"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-100.0, -100.0, 2.0 * k], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.RescaleSlope, ds.RescaleIntercept = [0.8, 0.8], 2, 1, 0
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *pixels.shape, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelData = pixels.tobytes()
    return ds


def programs(root: Path) -> dict[str, list[str]]:
    """Return the command lines, the baseline first; ``OUT`` stands for a new folder."""
    export = str(root / "export")
    table = ["--table", str(root / "table.csv"), "--keyed-by", "patient", "--validation", "0"]
    fedxai = [str(Path(PYTHON).with_name("fedxai")), "intake", "dicom", export, *table, "--out"]
    return {
        "dcm2niix": [str(Path(PYTHON).with_name("dcm2niix")), "-z", "i", "-4", "-o", "OUT", export],
        "fedxai": [*fedxai, "OUT/cohort"],
        "fedxai, 2 workers": [*fedxai, "OUT/cohort", "--workers", "2"],
        "dicom2nifti": [PYTHON, "-c", D2N, export, "OUT"],
        "SimpleITK": [PYTHON, "-c", ITK, export, "OUT"],
    }


def measure(command: list[str]) -> tuple[float, float, float]:
    """Run one program: seconds, seconds of processor time (less moved by what else runs), peak resident MiB."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        process = subprocess.Popen(
            [part.replace("OUT", out) if part.startswith("OUT") else part for part in command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command[0]} failed with {process.returncode}")
        return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Measure and print a table of ratios to the baseline."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("studies", 6), ("slices", 60), ("size", 256), ("turns", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_export(root, studies=asked.studies, slices=asked.slices, size=asked.size)
        turns = [{name: measure(line) for name, line in programs(root).items()} for _ in range(asked.turns)]
    print(f"{asked.studies} studies of {asked.slices} slices of {asked.size} x {asked.size}; {asked.turns} turns\n")
    print("| program | studies per second | x dcm2niix | CPU s a study | x dcm2niix | peak MiB | x dcm2niix |")
    print("|---|---|---|---|---|---|---|")
    for name in turns[0]:
        seconds, cpu, peak = (statistics.median(turn[name][i] for turn in turns) for i in range(3))
        speed, work, size = (statistics.median(turn[name][i] / turn["dcm2niix"][i] for turn in turns) for i in range(3))
        print(
            f"| {name} | {asked.studies / seconds:.2f} | {1 / speed:.2f} | {cpu / asked.studies:.2f} | {work:.1f} "
            f"| {peak:.0f} | {size:.1f} |"
        )


if __name__ == "__main__":
    main()
