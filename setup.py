"""Installs dbp_tf: `pip install .`, with extras as `pip install ".[simulate]"`."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "dbp_tf" / "__init__.py").read_text())[1]

# Writes the simulator's DNG files and pictures as TIFF of 16 bit, which imageio and rawpy cannot.
TIFF = ["tifffile>=2023.2"]
# Reads the published MatConvNet file of VGG-19; Keras' own file needs nothing.
VGG = ["scipy"]
# Plots the quality against the number of frames, and the benchmarks; panels go without.
FIGURES = ["matplotlib"]
# benchmarks/quality.py: photographs that come inside scikit-image and scikit-learn, and the
# classical rivals, non-local means of scikit-image and the authors' own BM3D (for non-commercial
# use); restore.py: ONNX Runtime to measure against, and what writes the networks for it.
BENCHMARKS = ["scikit-image", "scikit-learn", "bm3d", "onnx", "onnxruntime"]

setup(
    name="dbp_tf",
    version=VERSION,
    description="Burst photography in extreme darkness: a TensorFlow 2 / Keras 3 port",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    project_urls={
        "Paper": "https://arxiv.org/abs/2006.09845",
        "Original code": "https://github.com/hucvl/dark-burst-photography",
        "Dataset": "https://github.com/cchen156/Learning-to-See-in-the-Dark",
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Multimedia :: Graphics",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["dbp_tf", "dbp_tf.*"]),
    package_data={
        "dbp_tf": ["py.typed"],
        "dbp_tf.report": ["report.html"],
        "dbp_tf.simulate": ["samples/*"],
    },
    python_requires=">=3.10,<3.14",
    # 2.16 is the first TensorFlow whose Keras is Keras 3.
    # imageio brings Pillow along; the figures' text needs 10.1 of it.
    install_requires=["tensorflow>=2.16", "numpy", "rawpy", "imageio", "absl-py", "pillow>=10.1"],
    extras_require={
        "simulate": TIFF,
        "tiff": TIFF,
        "vgg": VGG,
        "figures": FIGURES,
        "benchmarks": [*BENCHMARKS, *TIFF, *FIGURES],
        # pytest-xdist halves the suite's time on two cores.
        # scikit-image is the independent oracle for PSNR and SSIM. What ruff and mypy (types)
        # ask for changes with their minor versions.
        "test": [
            "pytest",
            "pytest-xdist>=3.8",
            "ruff==0.17.*",
            "mypy==2.4.*",
            "scikit-image",
            *TIFF,
            *VGG,
            *FIGURES,
        ],
    },
)
