"""The command line: `selfattn run`, `compare`, `show`, `list`, `draw`, `schema`, `report`, `bench`."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table

if TYPE_CHECKING:  # what takes long to import, a command imports when it runs
    from selfattn_jax.choosing import Explanation
    from selfattn_jax.config.schema import Config
    from selfattn_jax.costs import MixerCost

OVERRIDES = typer.Argument(
    metavar="[KEY=VALUE]...",
    help="Overrides, such as training.steps=500, runs.seeds=5, model.mixer.score=cosine, "
    "'model.mixer.mask={name: window, left: 8}'.",
)
Overrides = Annotated[list[str] | None, OVERRIDES]

VARIANTS = typer.Argument(
    metavar="[VARIANT]...",
    help="auto, dense, rows or blockwise; jax.nn, flax, torch or flex; or what model.mixer of a config takes, such as "
    "linear or '{implementation: blockwise, biases: [alibi]}'. LABEL= before it gives it a name.",
)

OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
LESS_MEMORY = (
    "the device has too little memory: take a smaller training.batch, fewer runs.seeds or a smaller evaluation.batch; "
    "what was saved before is kept"
)

app = typer.Typer(
    name="selfattn",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Compose, run and compare self-attention variants.

One config file is one experiment: a task, a model, how it is trained and how often.
One study file is one question: variants of a config, side by side.

**Begin here**

- `selfattn list scores` — what there is; also normalizers, positions, masks, heads, mixers, modifiers, tasks
- `selfattn draw multi_query_recall` — what a task asks
- `selfattn show configs/recall/small.yaml` — what a config means, and what it costs
- `selfattn run configs/recall/small.yaml model.mixer.score=cosine` — train it, with one thing changed
- `selfattn compare experiments/recall/study.yaml` — variants side by side, with a report
- `selfattn bench` — how long attention takes, and how much memory, as sequences grow
""",
)

# What is piped into a file or a pager is not cut to the 80 columns of a terminal that is not there.
console = Console() if sys.stdout.isatty() else Console(width=120)
complaints = Console(stderr=True)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """One clear message and an exit status, where a user could not do with a traceback."""
    from jax.errors import JaxRuntimeError

    from selfattn_jax.config import ConfigError
    from selfattn_jax.reports.reading import ReportError
    from selfattn_jax.runs.execute import Interrupted
    from selfattn_jax.runs.folder import FolderError

    try:
        yield
    except ConfigError as error:
        _complain(str(error), 2)
    except (FolderError, ReportError) as error:
        _complain(str(error), 1)
    except OSError as error:
        _complain(f"{error.filename or ''}: {error.strerror or error}; what was saved before is kept".lstrip(": "), 1)
    except JaxRuntimeError as error:
        if OUT_OF_MEMORY not in str(error):
            raise
        _complain(f"{str(error).splitlines()[0]}\n{LESS_MEMORY}", 1)
    except Interrupted as error:
        _complain(str(error), 130)
    except KeyboardInterrupt:
        _complain("stopped; what was saved before is kept, the same command goes on from there", 130)


def _complain(message: str, status: int) -> None:
    complaints.print("[bold red]selfattn:[/] ", end="")
    complaints.print(message, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(status)


def _prepare() -> None:
    from selfattn_jax.runs.devices import keep_compiled_programs, keep_freed_memory, use_all_cores

    use_all_cores()
    keep_freed_memory()
    keep_compiled_programs()


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="A config file.", metavar="CONFIG")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write; default runs/NAME-OF-CONFIG.")] = None,
) -> None:
    """Train and judge all runs (seeds × learning rates) of one config.

    Writes the resolved config, metrics.jsonl, result.json, checkpoints and report.html. Stopped by Ctrl-C or a crash,
    the same command goes on from the last checkpoint; finished, it shows the result again.

        selfattn run configs/recall/small.yaml
        selfattn run configs/recall/small.yaml model.mixer.score=cosine runs.seeds=5 --out runs/cosine
        selfattn run configs/recall/small.yaml 'runs.sweep.training.learning_rate=[1e-3, 3e-3]'
    """
    with _plain_errors():
        _prepare()
        from selfattn_jax.config.loading import load, located
        from selfattn_jax.reports.page import write_report
        from selfattn_jax.reports.reading import read_run
        from selfattn_jax.reports.tables import further_table, run_table
        from selfattn_jax.runs.execute import execute
        from selfattn_jax.runs.progress import RunProgress

        loaded, document = load(config, overrides or [])
        folder = out or Path("runs") / _folder_name(config, overrides)
        with located(document), RunProgress(console, loaded.training.steps) as progress:
            execute(loaded, folder, progress, label=config.stem)
        record = read_run(folder)
        console.print(*filter(None, (run_table(record), further_table(record))), sep="\n")
        console.print(f"report: {write_report(folder)}", highlight=False, soft_wrap=True)


@app.command()
def compare(
    study: Annotated[Path, typer.Argument(help="A study file.", metavar="STUDY")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write; default runs/NAME-OF-STUDY.")] = None,
    only: Annotated[str | None, typer.Option(help="Names of trials to run, separated by commas.")] = None,
) -> None:
    """Run the variants of a study and set them side by side.

    Every variant is a run folder under trials/. The learning rate is chosen on the validation stream, the score is
    that of the untouched test stream. Prints a table; writes table.json, table.md and report.html. Overrides change
    every variant. Stopped, the same command goes on.

        selfattn compare experiments/recall/study.yaml
        selfattn compare experiments/recall/study.yaml runs.seeds=5 --out runs/five-seeds
        selfattn compare experiments/recall/study.yaml --only softmax,linear
    """
    with _plain_errors():
        _prepare()
        from selfattn_jax.reports.reading import read_study
        from selfattn_jax.reports.tables import further_table, study_table
        from selfattn_jax.runs.progress import RunProgress
        from selfattn_jax.studies.study import compare as compare_trials
        from selfattn_jax.studies.study import load_study

        loaded = load_study(study, overrides or [], only.split(",") if only else ())
        name = study.resolve().parent.name if study.stem == "study" else study.stem
        folder = out or Path("runs") / _folder_name(Path(name), overrides, only)
        total = sum(trial.config.training.steps for trial in loaded.trials)
        with RunProgress(console, total) as progress:
            table = compare_trials(loaded, folder, progress)
        console.print(*filter(None, (study_table(table), further_table(read_study(folder)))), sep="\n")
        console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


@app.command()
def show(
    config: Annotated[Path, typer.Argument(help="A config file.", metavar="CONFIG")],
    overrides: Overrides = None,
    profiled: Annotated[bool, typer.Option("--profile", help="Time some training steps, and their batches.")] = False,
) -> None:
    """Show what a config means and what it costs, without training.

    Prints every key with its default written out, then the parameters, operations and bytes of the model, how many runs
    the config makes, and which form computes its attention, and why. What goes into a file or a pipe is a config
    itself, the costs are comments in it.

        selfattn show configs/recall/small.yaml model.width=64
        selfattn show configs/recall/small.yaml model.width=64 > wide.yaml
        selfattn show configs/recall/small.yaml --profile
    """
    with _plain_errors():
        from selfattn_jax.config import to_yaml
        from selfattn_jax.config.loading import load, located
        from selfattn_jax.costs import forms, mixer_costs, model_costs

        loaded, document = load(config, overrides or [])
        with located(document):
            costs, found = model_costs(loaded), forms(loaded)
            lines = _cost_lines(loaded, costs, found) | _mixer_lines(mixer_costs(loaded))
            lines |= _profile_lines(loaded) if profiled else {}
        text = to_yaml(loaded.resolved())
        if console.is_terminal:
            table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
            for line in lines.items():
                table.add_row(*line)
            console.print(Syntax(text, "yaml", background_color="default"), table)
        else:  # not by the console: it would break long lines, and take what stands in brackets for markup
            typer.echo("\n".join([text, *(f"# {name:<11}  {cost}" for name, cost in lines.items())]))


def _cost_lines(config: "Config", costs: dict[str, Any], forms: list["Explanation"]) -> dict[str, str]:
    """What `show` says of a config's costs, by the name of each."""
    from selfattn_jax.reports.formats import quantity
    from selfattn_jax.runs.engine import runs_of

    # Layers are mostly alike: what is the same is said once.
    said = {f"{form.plan}: {form.reasons[form.implementation]}": None for form in forms}
    return {
        "parameters": f"{costs['parameters']:,}",
        "forward": f"{quantity(costs['forward_flops'], 'FLOP')} per sequence",
        "state": f"{quantity(costs['state_bytes'], 'B')} per run: parameters and AdamW's two moments",
        "activations": f"at most {quantity(costs['activation_bytes'], 'B')} per training batch",
        "runs": f"{len(runs_of(config))}, {config.training.steps} steps each",
        **({"form": "; ".join(said)} if said else {}),
    }


def _profile_lines(config: "Config") -> dict[str, str]:
    """What `show --profile` measures."""
    from selfattn_jax.runs.engine import make_experiment
    from selfattn_jax.runs.profile import profile

    found = profile(make_experiment(config))
    share = f"{100 * found.sampling / found.step:.1f} % of it makes the batch"
    return {"step": f"{1e3 * found.step:.3g} ms on one device; {share} ({1e3 * found.sampling:.3g} ms)"}


def _mixer_lines(mixers: list["MixerCost"]) -> dict[str, str]:
    """What `show` says of each mixer by the catalogue's formulas."""
    from selfattn_jax.reports.formats import quantity

    lines = {}
    for one in mixers:
        said = [f"{quantity(one.flops, 'FLOP')} per sequence and layer (2·{one.cost} a head)"]
        said += [f"state of {quantity(one.state, '')} numbers ({one.carries} a head)"] if one.carries else []
        learned = f" ({one.learned})" if one.learned else ""
        said += [f"own parameters {one.parameters:,}{learned}"] if one.parameters else []
        lines[one.name] = ", ".join(said)
    return lines


@app.command("list")
def list_entries(
    kind: Annotated[str | None, typer.Argument(help="One kind; all of them if left out.", metavar="[KIND]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what a config can name: scores, modifiers, normalizers, positions, masks, heads, mixers, tasks.

    Tells of each what it does; then the config key it goes to, what it costs per head and sequence, what it can and
    needs, its knobs, and its source. Without a KIND, lists all of them.

        selfattn list normalizers
        selfattn list --json
    """
    with _plain_errors():
        from selfattn_jax import catalogue
        from selfattn_jax.config import ConfigError, Problem

        if kind is not None and kind not in catalogue.KINDS:
            raise ConfigError([Problem("command line", "KIND", f"{kind!r} is none of {', '.join(catalogue.KINDS)}")])
        entries = [entry for entry in catalogue.entries if kind in (None, entry.kind)]
        if as_json:
            typer.echo(json.dumps([entry.described() for entry in entries], indent=2, ensure_ascii=False))
            return
        for name in catalogue.KINDS:
            chosen = [entry for entry in entries if entry.kind == name]
            if chosen:
                console.print(_entry_table(name, chosen))


def _entry_table(kind: str, entries: list) -> Table:
    """Two lines for each: what it does; where it goes, what it costs and can, its knobs and its source."""
    table = Table(
        title=kind, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), show_header=False
    )
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("what it does", overflow="fold")
    for entry in entries:
        knobs = f"knobs: {', '.join(entry.knobs())}" if entry.in_config and entry.knobs() else ""
        holds = f"memory {entry.memory}" if entry.memory else ""
        carries = f"state {entry.carries}" if entry.carries else ""
        learned = f"parameters {entry.learned}" if entry.learned else ""
        facts = (entry.place, entry.cost, holds, carries, learned, entry.capabilities, knobs, entry.paper)
        table.add_row(entry.name, f"{entry.summary}\n[dim]{' · '.join(escape(fact) for fact in facts if fact)}[/]")
    return table


@app.command()
def draw(
    task: Annotated[str, typer.Argument(help="A task's name, or a config file.", metavar="TASK")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KNOB=VALUE]...", help="Knobs of the task.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many examples.")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the stream of training examples.")] = 0,
) -> None:
    """Draw examples of a task, as a person would read them.

    What stands at each position, what is asked there, and how far back lies what the answer depends on; then what the
    task's shortcuts score, which do not solve it.

        selfattn draw multi_query_recall length=32 pairs=2
        selfattn draw configs/recall/small.yaml --count 1
    """
    with _plain_errors():
        import jax

        from selfattn_jax.build import make_task
        from selfattn_jax.config import validate
        from selfattn_jax.config.loading import load, located
        from selfattn_jax.config.reading import from_mapping, with_overrides
        from selfattn_jax.config.schema import Config
        from selfattn_jax.reports.examples import example_lines
        from selfattn_jax.reports.formats import score
        from selfattn_jax.tasks import evaluation_set, shortcut_scores
        from selfattn_jax.tasks.host_cache import told

        knobs = [f"task.{override}" for override in overrides or []]
        if Path(task).suffix in (".yaml", ".yml"):
            config, document = load(Path(task), knobs)
        else:
            document = with_overrides(from_mapping({"task": {"name": task}}, "command line"), knobs)
            config = validate(document, Config)
        with located(document):
            made = make_task(config)
        with console.status("") as status, told(lambda *said: status.update("making {}, {:,} of {:,}".format(*said))):
            examples = evaluation_set(made, "train", count, seed)
        for index in range(count):
            one = jax.tree.map(lambda leaf, index=index: leaf[index], examples)
            typer.echo("\n".join(example_lines(made, one, console.width)) + "\n")
        test = evaluation_set(made, "test", 1000, seed)
        found = shortcut_scores(made, test, seed)
        said = ", ".join(f"{name} {score(value, made.metric)}" for name, value in found.items())
        typer.echo(f"shortcuts on {len(test.targets):,} test examples: {said}" if said else "no shortcuts")


@app.command()
def schema() -> None:
    """Print the JSON schema of a config.

    An editor that is given it completes and checks a config while you write. `selfattn` itself needs none, and checks
    more.

        selfattn schema > config.schema.json
    """
    with _plain_errors():
        from selfattn_jax.config.schema import Config

        typer.echo(json.dumps(Config.model_json_schema(by_alias=True), indent=2, ensure_ascii=False))


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run folder or a study folder.", metavar="DIR")]) -> None:
    """Write report.html of a run folder or a study folder again.

    One file with every picture inside, for any browser. What is not finished is shown as far as it is: nothing is run
    again.

        selfattn report runs/recall
    """
    with _plain_errors():
        from selfattn_jax.reports.page import write_report

        console.print(f"report: {write_report(folder)}", highlight=False, soft_wrap=True)


@app.command()
def bench(
    variants: Annotated[list[str] | None, VARIANTS] = None,
    lengths: Annotated[str, typer.Option(help="Lengths of the sequences, separated by commas.")] = "256,512,1024,2048",
    batch: Annotated[int, typer.Option(help="Sequences.")] = 1,
    heads: Annotated[int, typer.Option(help="Heads.")] = 4,
    width: Annotated[int, typer.Option(help="Width of one head.")] = 64,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    causal: Annotated[bool, typer.Option("--causal", help="Every position sees its past alone.")] = False,
    forward_only: Annotated[bool, typer.Option("--no-backward", help="Leave the gradients out.")] = False,
    repeats: Annotated[int, typer.Option(help="How often each program is timed.")] = 5,
    budget: Annotated[float, typer.Option(help="Seconds for a variant at one length; longer ones are left out.")] = 60,
    against: Annotated[str | None, typer.Option(help="Ratios refer to it; default torch, jax.nn or the first.")] = None,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("runs/bench"),
) -> None:
    """Time variants of attention side by side, and see how time and memory grow with length.

    Times what lies between the projections: query, key and value [batch, length, heads, width] to output, and the
    gradients. All variants take turns in one process. Prints tables; writes bench.json after every length, so that
    Ctrl-C keeps what is finished, and bench.png. An earlier bench in the folder is replaced.

        selfattn bench
        selfattn bench auto rows blockwise torch --lengths 512,1024,2048 --causal
        selfattn bench linear '{implementation: blockwise, biases: [alibi]}' 'local={mask: {name: window, left: 64}}'
    """
    with _plain_errors():
        from selfattn_jax.bench.execute import bench as measure
        from selfattn_jax.bench.progress import BenchProgress
        from selfattn_jax.bench.settings import read_settings
        from selfattn_jax.bench.tables import bench_table, missing, slope_table
        from selfattn_jax.runs.devices import keep_freed_memory, leave_memory_to_others

        sizes = {"lengths": lengths, "batch": batch, "heads": heads, "width": width, "dtype": dtype, "causal": causal}
        limits = {"backward": not forward_only, "repeats": repeats, "budget": budget, "against": against}
        settings = read_settings({**sizes, **limits})
        leave_memory_to_others()
        keep_freed_memory()
        with BenchProgress(console) as progress:
            record = measure(variants or (), settings, out, progress)
        if record.lengths:
            console.print(bench_table(record))
        if len(record.lengths) > 1:  # one length does not grow
            console.print(slope_table(record))
        for line in missing(record):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print(f"record: {out / 'bench.json'}", highlight=False, soft_wrap=True)
        if not record.finished:
            _complain("stopped; the lengths that were finished are kept, the same command begins anew", 130)


def _folder_name(path: Path, *changes: Any) -> str:
    """The config's name, and a short hash of what the command line changes, so that two changes do not collide."""
    from hashlib import sha256

    said = json.dumps([change for change in changes if change])
    return path.stem if said == "[]" else f"{path.stem}-{sha256(said.encode()).hexdigest()[:6]}"


def main() -> None:
    """The entry point of the `selfattn` command."""
    app()


if __name__ == "__main__":
    sys.exit(main())
