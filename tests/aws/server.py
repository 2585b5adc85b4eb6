"""A stand-in for AWS: moto's server, plus what a deployment needs and moto lacks.

    python tests/aws/server.py --port 5000

CloudFormation: aliases and HTTP APIs; resources that come and go as a parameter turns their condition; outputs;
parameters as text; "nothing to change"; repositories emptied before they are deleted; unknown types are an error.
Lambda: versions that keep their image and settings, and invocations, which a container of the version's image answers
under AWS's emulator. The containers have the label stand-in=<port>; whoever starts this server removes them.
"""
import base64
import contextlib
import copy
import inspect
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable

from moto.apigatewayv2.models import apigatewayv2_backends
from moto.awslambda import urls as awslambda_urls
from moto.awslambda.models import LambdaFunction, LambdaStorage, lambda_backends
from moto.awslambda.responses import LambdaResponse
from moto.cloudformation import parsing
from moto.cloudformation.models import ChangeSet, Stack
from moto.cloudformation.parsing import OutputMap, ResourceMap
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.common_models import CloudFormationModel
from moto.ecr.models import Repository, ecr_backends
from moto.server import main

PORT = sys.argv[sys.argv.index("--port") + 1]
LEFT_OUT = {"AWS::Budgets::Budget", "AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard"}  # see test_template.py


# CloudFormation

def apply(change_set: ChangeSet) -> None:
    stack = change_set.stack
    template = change_set.template_dict
    conditions = ResourceMap(stack.stack_id, stack.name, change_set.parameters, {}, stack.region_name,
                             stack.account_id, template, {})
    conditions.load()
    template["Resources"] = {name: resource for name, resource in template["Resources"].items()
                             if "Condition" not in resource or conditions.lazy_condition_map[resource["Condition"]]}
    unknown = {resource["Type"] for resource in template["Resources"].values()} - parsing.get_model_map().keys()
    assert unknown <= LEFT_OUT, unknown
    stack.resource_map.update(template, change_set.parameters)
    stack.output_map = OutputMap(stack.resource_map, template, stack.stack_id)


def parameters(stack: Stack) -> dict[str, str]:
    return {name: ",".join(value) if isinstance(value, list) else str(value)
            for name, value in stack.resource_map.resolved_parameters.items()}


def clean_json(node: object, resources: ResourceMap) -> object:
    """AWS::NoValue also removes items of lists; moto removes only keys of objects."""
    cleaned = moto_clean_json(node, resources)
    return [item for item in cleaned if item is not None] if isinstance(node, list) else cleaned


def update_resource(logical_id: str, resource_json: dict, resources: ResourceMap, **place: str) -> object:
    """Keep resources whose type moto can't update; moto would lose them."""
    return moto_update(logical_id, resource_json, resources, **place) or resources[logical_id]


moto_clean_json, parsing.clean_json = parsing.clean_json, clean_json
moto_update, parsing.parse_and_update_resource = parsing.parse_and_update_resource, update_resource
ChangeSet.apply = apply
Stack.stack_parameters = property(parameters)
Stack.parameter_list = property(lambda stack: [{"ParameterKey": name, "ParameterValue": value}
                                               for name, value in parameters(stack).items()])
Stack.has_parameters = lambda stack, others: parameters(stack) == others
CloudFormationResponse._validate_different_update = lambda *_: None  # the change set itself says so, as on AWS
Repository.delete = lambda repository, account, region: \
    ecr_backends[account][region].delete_repository(repository.name, force=True)


class Resource:
    """A resource of a type that moto's CloudFormation does not know, made by moto's backend for that service."""
    cloudformation_name_type = staticmethod(lambda: "")
    has_cfn_attr = classmethod(lambda cls, attr: False)
    delete_from_cloudformation_json = classmethod(lambda *_: None)  # they go with their function or their API

    def __init__(self, physical_id: str):
        self.physical_resource_id = physical_id

    def delete(self, account: str, region: str) -> None:
        pass

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        return cls(cls.create(cloudformation_json["Properties"], account_id, region_name))

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, new_resource_name, cloudformation_json, account_id,
                                        region_name):
        cls.update(cloudformation_json["Properties"], account_id, region_name)
        return original_resource


def register(kind: str, create: Callable[[dict, str, str], str], **methods: Callable) -> None:
    """Add a type to CloudFormation: create(properties, account, region) returns the physical id."""
    type(CloudFormationModel)(kind.replace("::", ""), (Resource, CloudFormationModel), {
        "__module__": "moto.stand_in", "cloudformation_type": staticmethod(lambda: kind),
        "create": staticmethod(create), **methods})


def call(method: Callable, properties: dict, **names: str):
    """Call a backend's method with properties. Its arguments have other names; those that are not given are None."""
    given = {names.get(name) or re.sub("(?<!^)([A-Z])", r"_\1", name).lower(): value
             for name, value in properties.items()}
    return method(**dict.fromkeys(set(inspect.signature(method).parameters) - given.keys()), **given)


def apis(account: str, region: str):
    return apigatewayv2_backends[account][region]


register("AWS::Lambda::Alias", lambda properties, account, region: call(
    lambda_backends[account][region].create_alias, properties).arn, update=staticmethod(
    lambda properties, account, region: call(lambda_backends[account][region].update_alias, properties)))
register("AWS::ApiGatewayV2::Api", lambda properties, account, region: call(
    apis(account, region).create_api, properties).api_id,
    delete=lambda api, account, region: apis(account, region).delete_api(api.physical_resource_id))
register("AWS::ApiGatewayV2::Integration", lambda properties, account, region: call(
    apis(account, region).create_integration, properties).id)
register("AWS::ApiGatewayV2::Route", lambda properties, account, region: call(
    apis(account, region).create_route, properties).route_id)
register("AWS::ApiGatewayV2::Stage", lambda properties, account, region: apis(account, region).create_stage(
    properties["ApiId"], {name[0].lower() + name[1:]: value for name, value in properties.items()}).name)


# Lambda

def publish_version(storage: LambdaStorage, name_or_arn: str, description: str = "") -> LambdaFunction:
    """Publish a copy that later updates don't change. If nothing has changed, return the last version."""
    latest = storage.get_function_by_name_or_arn_forbid_qualifier(name_or_arn)
    versions = storage._functions[latest.function_name]["versions"]
    settings = json.dumps([latest.code, latest.memory_size, latest.timeout, latest.environment_vars])
    if versions and versions[-1].settings == settings:
        return versions[-1]
    version = copy.copy(latest)
    version.code, version.environment_vars = dict(latest.code), dict(latest.environment_vars)
    version.settings = settings
    latest.published = getattr(latest, "published", 0) + 1
    version.set_version(latest.published)
    versions.append(version)
    storage._arns[version.function_arn] = version
    return version


LambdaStorage.publish_version = publish_version
running: dict[str, str] = {}
one_at_a_time = threading.Lock()  # as the emulator answers one request after another


def docker(*arguments: str, stderr: int | None = None) -> str:
    """Standard output. stderr=subprocess.STDOUT adds standard error, where the engine may also warn."""
    ran = subprocess.run(["docker", *arguments], check=True, text=True, stdout=subprocess.PIPE, stderr=stderr)
    return ran.stdout.strip()


def invoke(function: LambdaFunction, body: str, request_headers: dict, response_headers: dict) -> bytes:
    """The answer of a container of the function's image, with the function's variables."""
    variables = [f"--env={name}={value}" for name, value in sorted(function.environment_vars.items())]
    with one_at_a_time:
        answer, log = ask_container(function.code["ImageUri"], variables, body)
    response_headers["x-amz-log-result"] = base64.b64encode(log.encode()).decode()
    if answer.startswith(b'{"errorMessage"'):
        response_headers["x-amz-function-error"] = "Unhandled"
    return answer


def ask_container(image: str, variables: list[str], body: str | bytes) -> tuple[bytes, str]:
    """The answer and the end of the log."""
    instance = json.dumps([image, variables])
    if instance not in running:
        running[instance] = docker("run", "--detach", "--label", f"stand-in={PORT}", "--publish", "127.0.0.1::8080",
                                   "--read-only", "--tmpfs", "/tmp", *variables, image)
    port = docker("port", running[instance], "8080").split(":")[-1]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations",
                                     body.encode() if isinstance(body, str) else body)
    for _ in range(300):
        with contextlib.suppress(OSError):  # while it starts
            answer = urllib.request.urlopen(request, timeout=60).read()
            return answer, docker("logs", "--tail", "5", running[instance], stderr=subprocess.STDOUT)
        time.sleep(0.1)
    raise TimeoutError(f"the container of {image} does not answer")


def invoke_with_qualifier(response: LambdaResponse):
    response.querystring["qualifier"] = response.querystring.get("Qualifier")  # as the client spells it
    return moto_invoke(response)


moto_invoke, LambdaResponse.invoke = LambdaResponse.invoke, invoke_with_qualifier
LambdaFunction.invoke = invoke
awslambda_urls.url_paths["{0}/2016-08-19/account-settings/?$"] = lambda *_: (200, {}, json.dumps(
    {"AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}}))
main(sys.argv[1:])
