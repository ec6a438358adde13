"""The only door to ONNX Runtime.

ONNX Runtime 1.31 reports its use to its maker and, on a bare import, writes a device id and an
event database under the user's cache folder. One variable stops it, and only if it is set before
the import; so nothing else in voicetone imports the package.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voicetone.errors import BundleError

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

MAX_THREADS = 256
_ERRORS_ONLY = 3


def open_graph(data: bytes, threads: int) -> Any:
    """An inference session over the bytes of a graph.

    Args:
        data: a self-contained ONNX graph.
        threads: of the session; with one, everything runs in the caller's thread.

    Raises:
        BundleError: the runtime refuses the graph or the number of threads.
    """
    import onnxruntime as ort

    if not 1 <= threads <= MAX_THREADS:
        raise BundleError(f"{threads} threads: give a number from 1 to {MAX_THREADS}")
    # Should somebody have imported the package before us, this still stops further events.
    ort.disable_telemetry_events()
    ort.set_default_logger_severity(_ERRORS_ONLY)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    # Idle threads that spin would cost a core between two windows of a live call.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions share no base
        raise BundleError(first_line(error)) from error


def run_graph(session: Any, inputs: dict[str, Any], outputs: list[str]) -> list[Any]:
    """Run a session.

    Raises:
        BundleError: the graph can't digest these inputs.
    """
    try:
        result: list[Any] = session.run(outputs, inputs)
    except Exception as error:  # as above
        raise BundleError(f"the model failed while running ({first_line(error)})") from error
    return result


def quantised(data: bytes, examples: Sequence[Mapping[str, Any]]) -> bytes:
    """The same graph with weights and activations of its products and convolutions in 8 bits.

    Ranges are fixed beforehand from the examples: with ranges found while running, what a window
    gives would depend on what else is in its batch.

    Args:
        data: a self-contained ONNX graph.
        examples: inputs by name, such as the graph will get.

    Raises:
        BundleError: the graph can't be quantised.
        ImportError: the package onnx is missing.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(examples)

        def get_next(self) -> Mapping[str, Any] | None:
            return next(self._left, None)

    with tempfile.TemporaryDirectory() as folder:
        whole, ready, small = (Path(folder) / f"{name}.onnx" for name in ("a", "b", "c"))
        whole.write_bytes(data)
        try:
            quant_pre_process(whole, ready, skip_symbolic_shape=True)
            quantize_static(
                ready,
                small,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["Conv", "MatMul", "Gemm"],
                extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
            )
        except Exception as error:  # as above
            raise BundleError(f"the graph can't be quantised ({first_line(error)})") from error
        return small.read_bytes()


def first_line(error: BaseException) -> str:
    """The first line of the runtime's message, shortened."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
