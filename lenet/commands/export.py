"""Write runs or a network for other programs: lenet export run=modern format=onnx

lenet export run=modern format=onnx
    a network: onnx, torchscript, exported (torch.export), safetensors, c; images
    [n, 1, 28, 28] in [0, 1], light ink on black, to logits [n, class]; or hub, a folder
    with a model card. run= is modern or paper, the start of a run's id, or a folder
lenet export run=modern format=onnx_int8 data_dir=<folder>
    the same in whole numbers of 8 bits, with the errors on the test images of both
lenet export study=leave_one_out format=parquet
    the runs of a study, or without study= of output_dir, as parquet, csv or jsonl
    to=<file>        by default <name>.<format>
    output_dir=outputs
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lenet.config import Refusal, suggest
from lenet.terminal import Said, typed

KEYS = {"run": "", "study": "", "format": "", "to": "", "output_dir": "outputs"}
KEYS |= {"data_dir": ""}
TABLES = ("parquet", "csv", "jsonl")
NETWORKS = ("onnx", "torchscript", "exported", "safetensors", "c", "hub", "onnx_int8")

TEN = ("c", "hub")  # formats that state what ten digits need


def main(arguments: Sequence[str]) -> Said:
    """The files that were written."""
    given = typed(arguments, KEYS)
    known = NETWORKS if given["run"] else TABLES
    if given["format"] not in known:
        both = (*NETWORKS, *TABLES)
        if given["format"] in both:
            what = "run=<a network>" if given["format"] in NETWORKS else "study=<name>"
            raise Refusal(f"format={given['format']} goes with {what}")
        raise Refusal(suggest(given["format"], both, "format", "formats"))
    return export_network(given) if given["run"] else export_records(given)


def export_records(given: Mapping[str, str]) -> Said:
    """A table of runs."""
    from lenet.export import record_table

    study, form = given["study"] or None, given["format"]
    records = record_table.chosen_records(given["output_dir"], study)
    path = Path(given["to"] or f"{study or 'runs'}.{form}").expanduser()
    return Said.of_files([record_table.write_record_table(records, study, form, path)])


def export_network(given: Mapping[str, str]) -> Said:
    """A network in a file, or a folder."""
    from lenet.export import formats, model_card
    from lenet.interpret import trained_network

    net = trained_network.load(given["run"], given["output_dir"])
    path = Path(given["to"]).expanduser() if given["to"] else None
    if len(net.class_names) != 10 and given["format"] in TEN:
        raise Refusal(f"format={given['format']} is for networks of ten classes")
    if given["format"] == "hub":
        return Said.of_files(
            model_card.write_model_card(net, path or Path(f"{net.name}_hub"))
        )
    if given["format"] == "onnx_int8":
        from lenet.export import int8

        return int8.write_int8(net, path, given["data_dir"] or None)
    return Said.of_files([formats.write_network(net, given["format"], path)])
