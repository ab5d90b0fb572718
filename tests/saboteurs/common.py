"""Faults that labs of several levels must see, and what their tests have in common."""

from __future__ import annotations

from tests.saboteurs.planted import anything, labs, servers, translator
from tests.saboteurs.saboteur import Patch

CORE = "napt_lab.nat_node.core"
TRANSLATOR, TABLE = f"{CORE}.translator:Translator", f"{CORE}.table:Table"
RULE_OF_PORT = f"{CORE}.external_ports:ExternalPorts.rule"
REMOVE_EXPLICIT = f"{CORE}.explicit_rules:ExplicitRules.remove"
STAGE = "napt_lab.labs.stage.stage:Stage"
PLANS = "napt_lab.topologies.network.plan:node_plans"
IP_COMMANDS = "napt_lab.topologies.network.plan:NodePlan.ip_commands"

FILE_DAMAGED_ON_THE_WAY = Patch(
    "napt_lab.nat_node.fast_path.flow_cache:Flows.forward", translator.damaging_files
)
SERVERS_TAKE_THEMSELVES_FOR_THE_CLIENT = Patch(
    "asyncio.transports:BaseTransport.get_extra_info", servers.own_address
)
BOB_TRIES_THE_DIRECT_WAY = ("bob", "curl", "-m", "0.5", "http://24.9.3.7")


def impatient(seconds: int) -> tuple[Patch, ...]:
    """Where what is awaited does not come, the test need not wait as long as a student would."""
    return (
        Patch(f"{STAGE}.start", labs.not_so_patient, seconds),
        Patch("napt_lab.labs.shared_steps.evidence:WAIT", anything.instead, 1.0),
        Patch(f"{STAGE}.wait_for_event", anything.default, "deadline", 1.0),
    )
