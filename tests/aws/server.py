"""AWS's stand-in: moto's server, with CloudFormation's change sets made truer in what the deployment needs:
resources that come and go as a parameter turns their condition, outputs, parameters as text, "nothing to change",
repositories emptied before they are deleted.

    python tests/aws/server.py --port 5000
"""
import sys

from moto.cloudformation.models import ChangeSet, Stack
from moto.cloudformation.parsing import OutputMap, ResourceMap
from moto.cloudformation.responses import CloudFormationResponse
from moto.ecr.models import Repository, ecr_backends
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


def parameters(stack: Stack) -> dict[str, str]:
    return {name: ",".join(value) if isinstance(value, list) else str(value)
            for name, value in stack.resource_map.resolved_parameters.items()}


ChangeSet.apply = apply
Stack.stack_parameters = property(parameters)
Stack.parameter_list = property(lambda stack: [{"ParameterKey": name, "ParameterValue": value}
                                               for name, value in parameters(stack).items()])
Stack.has_parameters = lambda stack, others: parameters(stack) == others
CloudFormationResponse._validate_different_update = lambda *_: None  # the change set itself says so, as on AWS
Repository.delete = lambda repository, account, region: \
    ecr_backends[account][region].delete_repository(repository.name, force=True)
main(sys.argv[1:])
