"""The tree of verbs. Modules of verbs are named by import string, so that help loads none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cyclopts import App, Group, Parameter

from lattice import __version__
from lattice.cli.helping import Paragraphs

GROUPS: Final = ("Run", "Develop", "Deploy", "Look", "Use", "Set up")
"""Groups of verbs in the order of the help."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: its words, the function that carries it out, and what the list of verbs says.

    The docstring of the function begins with `summary`. A verb without a group is not listed.
    """

    words: str
    place: str
    summary: str
    group: str = ""
    takes_rest: bool = False  # words after `--` are not the verb's, but what it passes on


VERBS: Final = (
    Verb(
        "up",
        "lattice.cli.verb_up:up_",
        "Run a whole lattice on this machine: NATS, scheduler and hosts.",
        "Run",
    ),
    Verb("host", "lattice.cli.verb_host:host_", "Run one host that joins a lattice.", "Run"),
    Verb(
        "scheduler",
        "lattice.cli.verb_scheduler:scheduler_",
        "Run one scheduler: active or standby.",
        "Run",
    ),
    Verb(
        "run",
        "lattice.cli.verb_run:run_",
        "Run a component on this machine, without a lattice.",
        "Run",
        takes_rest=True,
    ),
    Verb(
        "serve",
        "lattice.cli.verb_serve:serve_",
        "Answer HTTP requests with a component, without a lattice.",
        "Run",
    ),
    Verb("dev", "lattice.cli.verb_dev:dev_", "Run a project while it is being written.", "Develop"),
    Verb("new", "lattice.cli.verb_new:new_", "Make a small project from a template.", "Develop"),
    Verb("build", "lattice.cli.verb_build:build_", "Build the components of a project.", "Develop"),
    Verb(
        "bindgen",
        "lattice.cli.verb_bindgen:bindgen_",
        "Write a typed Python module for the functions that a component exports.",
        "Develop",
    ),
    Verb(
        "apply", "lattice.cli.verb_apply:apply_", "Submit the deployments of a manifest.", "Deploy"
    ),
    Verb(
        "diff",
        "lattice.cli.verb_diff:diff_",
        "Show what applying a manifest would change.",
        "Deploy",
    ),
    Verb(
        "plan",
        "lattice.cli.verb_plan:plan_",
        "Show what applying a manifest would move, and where.",
        "Deploy",
    ),
    Verb("delete", "lattice.cli.verb_delete:delete_", "Remove deployments.", "Deploy"),
    Verb(
        "history",
        "lattice.cli.verb_history:history_",
        "Show the generations of a deployment that are kept, and what happened to it.",
        "Deploy",
    ),
    Verb(
        "rollback",
        "lattice.cli.verb_adjust:rollback_",
        "Have a deployment run an earlier generation again.",
        "Deploy",
    ),
    Verb(
        "scale",
        "lattice.cli.verb_adjust:scale_",
        "Change how many replicas a deployment has.",
        "Deploy",
    ),
    Verb(
        "pause",
        "lattice.cli.verb_adjust:pause_",
        "Leave what runs of a deployment as it is.",
        "Deploy",
    ),
    Verb("resume", "lattice.cli.verb_adjust:resume_", "Go on with a paused deployment.", "Deploy"),
    Verb(
        "backup",
        "lattice.cli.verb_backup:backup_",
        "Save deployments, their history and components to a file.",
        "Deploy",
    ),
    Verb(
        "restore",
        "lattice.cli.verb_backup:restore_",
        "Tell a lattice what a backup holds.",
        "Deploy",
    ),
    Verb(
        "describe",
        "lattice.cli.verb_describe:describe_",
        "Show all that is known of a deployment.",
        "Look",
    ),
    Verb(
        "explain",
        "lattice.cli.verb_explain:explain_",
        "Tell why replicas are where they are, and what keeps more away.",
        "Look",
    ),
    Verb(
        "why-not",
        "lattice.cli.verb_explain:why_not_",
        "Tell what every rule of a deployment says of one host.",
        "Look",
    ),
    Verb("events", "lattice.cli.verb_events:events_", "Show what happened in the lattice.", "Look"),
    Verb(
        "logs", "lattice.cli.verb_logs:logs_", "Show log lines of a deployment or a host.", "Look"
    ),
    Verb(
        "inspect",
        "lattice.cli.verb_inspect:inspect_",
        "Show what a component file imports and exports.",
        "Look",
    ),
    Verb(
        "doctor",
        "lattice.cli.verb_doctor:doctor_",
        "Check this machine and the way to the lattice; name a fix for each fault.",
        "Look",
    ),
    Verb("get hosts", "lattice.cli.verb_get:hosts_", "List the hosts of the lattice.", "Look"),
    Verb("get deployments", "lattice.cli.verb_get:deployments_", "List the deployments.", "Look"),
    Verb(
        "get replicas",
        "lattice.cli.verb_get:replicas_",
        "List replicas, and what could not be placed.",
        "Look",
    ),
    Verb("call", "lattice.cli.verb_call:call_", "Call a function of a deployment.", "Use"),
    Verb(
        "job submit",
        "lattice.cli.verb_job:submit_",
        "Store a call of a deployment's function, which is run when a replica is there.",
        "Use",
    ),
    Verb(
        "job result",
        "lattice.cli.verb_job:result_",
        "Print the value with which a job ended, and wait for it.",
        "Use",
    ),
    Verb("job status", "lattice.cli.verb_job:status_", "Show what is known of a job.", "Use"),
    Verb(
        "job cancel",
        "lattice.cli.verb_job:cancel_",
        "Have a job end as cancelled, or remove a schedule.",
        "Use",
    ),
    Verb("job list", "lattice.cli.verb_job:list_", "List jobs and schedules, oldest first.", "Use"),
    Verb(
        "job dead",
        "lattice.cli.verb_job:dead_",
        "List dead letters, which are jobs that failed.",
        "Use",
    ),
    Verb(
        "job redrive",
        "lattice.cli.verb_job:redrive_",
        "Have dead letters tried again.",
        "Use",
    ),
    Verb(
        "job schedule",
        "lattice.cli.verb_job:schedule_",
        "Store a call that is submitted again and again, each time as a job of its own.",
        "Use",
    ),
    Verb(
        "label host", "lattice.cli.verb_label:host_", "Change the labels of a running host.", "Use"
    ),
    Verb("cordon", "lattice.cli.verb_maintain:cordon_", "Have a host take no new replicas.", "Use"),
    Verb(
        "uncordon", "lattice.cli.verb_maintain:uncordon_", "Have a host take replicas again.", "Use"
    ),
    Verb(
        "drain", "lattice.cli.verb_maintain:drain_", "Move all replicas of a host to others.", "Use"
    ),
    Verb(
        "taint", "lattice.cli.verb_maintain:taint_", "Change the taints of a running host.", "Use"
    ),
    Verb(
        "completion",
        "lattice.cli.verb_completion:completion_",
        "Print the completion script of a shell.",
        "Set up",
    ),
    Verb("context list", "lattice.cli.verb_context:list_", "List the contexts.", "Set up"),
    Verb(
        "context show",
        "lattice.cli.verb_context:show_",
        "Show the settings in use and where each comes from.",
        "Set up",
    ),
    Verb(
        "context use", "lattice.cli.verb_context:use_", "Make a context the current one.", "Set up"
    ),
    Verb(
        "context save",
        "lattice.cli.verb_context:save_",
        "Write the settings in use to a context.",
        "Set up",
    ),
    Verb("context delete", "lattice.cli.verb_context:delete_", "Remove a context.", "Set up"),
    Verb(
        "context env",
        "lattice.cli.verb_context:env_",
        "Print variables for the plain nats command and for lattice itself.",
        "Set up",
    ),
    Verb(
        "auth key",
        "lattice.cli.verb_auth:key_",
        "Make a key file and print its public key.",
        "Set up",
    ),
    Verb(
        "auth host",
        "lattice.cli.verb_auth:host_",
        "Print the nats-server user of one host.",
        "Set up",
    ),
    Verb(
        "auth config",
        "lattice.cli.verb_auth:config_",
        "Print the accounts of a nats-server configuration.",
        "Set up",
    ),
    Verb("reference", "lattice.cli.reference:reference_", "Print docs/reference/cli.md."),
)

OUTER: Final = {
    "get": "List hosts, deployments or replicas.",
    "label": "Change labels.",
    "job": "Store calls and fetch their outcomes (durable jobs).",
    "context": "Keep settings of lattices under names.",
    "auth": "Make keys and the permissions of a nats-server.",
}
"""What the list of verbs says of verbs that have verbs of their own."""


def split_rest(words: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the words of the verb, and those after `--` for a verb that passes them on."""
    takes_rest = any(verb.takes_rest and list(words[:1]) == [verb.words] for verb in VERBS)
    if not takes_rest or "--" not in words:
        return list(words), ()
    end = list(words).index("--")
    return list(words[:end]), tuple(words[end + 1 :])


def build(words: Sequence[str] | None = ()) -> App:
    """Return the application; no verb's module is loaded yet.

    A verb that `words` begin with tells of itself by its own docstring, the others by their
    summary, which need not be loaded. None stands for all verbs at once.
    """
    app = App(
        name="lattice",
        help="Run WebAssembly components on many hosts and call them over NATS.",
        version=__version__,
        default_parameter=Parameter(negative=()),
        help_format="plaintext",
        help_formatter=Paragraphs(),
    )
    groups = {name: Group(name, sort_key=position) for position, name in enumerate(GROUPS)}
    outer: dict[str, App] = {}
    for verb in VERBS:
        *above, name = verb.words.split()
        is_asked = words is None or list(words[: len(above) + 1]) == [*above, name]
        about = None if is_asked else verb.summary
        if not above:
            group = groups.get(verb.group)
            app.command(verb.place, name=name, help=about, group=group, show=group is not None)
            continue
        if above[0] not in outer:
            nested = App(name=above[0], help=OUTER[above[0]], group=groups[verb.group])
            app.command(nested)
            outer[above[0]] = nested
        outer[above[0]].command(verb.place, name=name, help=about)
    return app
