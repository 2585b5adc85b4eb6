"""AWS's stand-in: moto's server, with what it leaves out of CloudFormation's change sets and the deployment needs:
resources that come and go as a parameter turns their condition, outputs, and lists among the parameters.

    python tests/aws/server.py --port 5000
"""
import sys

from moto.cloudformation.models import ChangeSet, Stack
from moto.cloudformation.parsing import OutputMap, ResourceMap
from moto.server import main


def apply(change_set: ChangeSet) -> None:
    stack = change_set.stack
    template = change_set.template_dict
    conditions = ResourceMap(stack.stack_id, stack.name, change_set.parameters, {}, stack.region_name,
                             stack.account_id, template, {})
    conditions.load()
    template["Resources"] = {name: resource for name, resource in template["Resources"].items()
                             if "Condition" not in resource or conditions.lazy_condition_map[resource["Condition"]]}
    stack.resource_map.update(template, change_set.parameters)
    stack.output_map = OutputMap(stack.resource_map, template, stack.stack_id)
    stack.parameters = change_set.parameters


def parameter_list(stack: Stack) -> list[dict]:
    return [{"ParameterKey": name, "ParameterValue": ",".join(value) if isinstance(value, list) else value}
            for name, value in stack.resource_map.resolved_parameters.items()]


ChangeSet.apply = apply
Stack.parameter_list = property(parameter_list)
main(sys.argv[1:])
