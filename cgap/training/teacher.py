"""Whether a run may learn from another one."""

from __future__ import annotations

from collections.abc import Mapping

from cgap.boundary.imports import require_trust
from cgap.training.config import Config, load_config
from cgap.training.record import read_finished
from fpga_model.errors import UserError


def check_teacher(config: Config, data_sha256: Mapping[str, str], *, trust: bool) -> None:
    """Refuse a teacher from which the run would learn something other than it says, or whose code nobody vouches for.

    The teacher must be a finished run on the same images at the same size and in the same scale, and must not have
    learnt from images that the run holds out. The held-out images are the first of one fixed order, so that is known
    from their number. Raises UserError.
    """
    if config.distillation is None:
        return
    folder = config.run_folder(config.distillation.teacher)
    what = f"distillation.teacher: {folder}"
    if not (folder / "config.toml").is_file():
        raise UserError(f"{what}: is not a run folder (no config.toml)")
    record, theirs = read_finished(folder), load_config(folder / "config.toml")
    require_trust(folder, set(theirs.own_code()) - set(config.own_code()), trust=trust)
    mine, other = config.data, theirs.data
    hashes = record.get("data_sha256")
    same = dict(data_sha256) == hashes if data_sha256 or hashes else mine.dataset == other.dataset
    if not same or mine.size != other.size:
        raise UserError(f"{what}: learnt from other images ({other.dataset}) than the run would ({mine.dataset})")
    if (mine.mean, mine.std) != (other.mean, other.std):
        raise UserError(f"{what}: reads images in another scale: give data.mean and data.std as in its config.toml")
    if other.held_out < mine.held_out:
        raise UserError(
            f"{what}: held out {other.held_out} images, so it has learnt from some of the {mine.held_out} that the run "
            f"holds out: set data.held_out to {other.held_out} at most"
        )
