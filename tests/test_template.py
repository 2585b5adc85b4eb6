"""lambda/template.yaml and lambda/deploy-policy.json: each parameter has its effect, each promise is kept."""
import hashlib
import json
import re
import subprocess

import pytest
import yaml
from conftest import ROOT

TEMPLATE = ROOT / "lambda" / "template.yaml"
BIN = ROOT / ".venv" / "aws-tests" / "bin"
IMAGE = "1.dkr.ecr.eu-central-1.amazonaws.com/clothes@sha256:" + "0" * 64
NOTHING = object()
LAMBDA_CODE = "".join(path.read_text() for path in (ROOT / "lambda").glob("*.py"))


class Loader(yaml.SafeLoader):
    pass


def intrinsic(loader, suffix, node):
    kind = {yaml.ScalarNode: "scalar", yaml.SequenceNode: "sequence", yaml.MappingNode: "mapping"}[type(node)]
    value = (getattr(loader, f"construct_{kind}")(node, deep=True) if kind != "scalar" else node.value)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", intrinsic)


@pytest.fixture(scope="session")
def template():
    return yaml.load(TEMPLATE.read_text(), Loader)


@pytest.fixture
def made(template):
    """made(Parameter=value, …): the resources as CloudFormation would make them, functions resolved, names kept."""
    def made(ImageUri=IMAGE, **given):
        values = {name: str(parameter["Default"]) for name, parameter in template["Parameters"].items()}
        values |= {"ImageUri": ImageUri, **given, "AWS::StackName": "clothes", "AWS::Region": "eu-central-1",
                   "AWS::Partition": "aws", "AWS::AccountId": "1", "AWS::NoValue": NOTHING}

        def condition(name):
            return value(template["Conditions"][name])

        def value(node):
            if isinstance(node, list):
                return [item for item in map(value, node) if item is not NOTHING]
            if not isinstance(node, dict):
                return node
            if len(node) == 1:
                (function, argument), = node.items()
                if function == "Ref":
                    if template["Parameters"].get(argument, {}).get("Type") == "CommaDelimitedList":
                        return values[argument].split(",")
                    return values.get(argument, argument)
                if function == "Condition":
                    return condition(argument)
                if function == "Fn::If":
                    return value(argument[1] if condition(argument[0]) else argument[2])
                if function == "Fn::Not":
                    return not value(argument[0])
                if function == "Fn::And":
                    return all(map(value, argument))
                if function == "Fn::Equals":
                    return str(value(argument[0])) == str(value(argument[1]))
                if function == "Fn::Join":
                    return argument[0].join(value(argument[1]))
                if function == "Fn::Split":
                    return value(argument[1]).split(argument[0])
                if function == "Fn::GetAtt":
                    return argument
                if function == "Fn::Sub":
                    text, names = argument if isinstance(argument, list) else (argument, {})
                    return re.sub(r"\$\{([\w:.]+)\}",
                                  lambda match: value(names.get(match[1], {"Ref": match[1]})), text)
            return {key: item for key, item in ((key, value(item)) for key, item in node.items())
                    if item is not NOTHING}
        return {name: value(resource.get("Properties", {})) for name, resource in template["Resources"].items()
                if "Condition" not in resource or condition(resource["Condition"])}
    return made


def test_cfn_lint_and_shellcheck_find_nothing():
    subprocess.run([BIN / "cfn-lint", TEMPLATE], check=True, timeout=120)
    subprocess.run([BIN / "shellcheck", "-x", *ROOT.glob("scripts/*.sh"), *ROOT.glob("tests/**/*.sh")],
                   check=True, cwd=ROOT, timeout=60)


def test_scripts_are_short():
    assert len((ROOT / "scripts" / "deploy.sh").read_text().splitlines()) < 100
    assert TEMPLATE.stat().st_size < 51200, "`aws cloudformation deploy` takes no more without a bucket"


def test_without_an_image_there_is_only_the_repository(made):
    assert list(made(ImageUri="")) == ["Repository"]


def test_repository(made):
    repository = made()["Repository"]
    assert repository["ImageTagMutability"] == "IMMUTABLE" and repository["ImageScanningConfiguration"]["ScanOnPush"]
    rule, = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert rule["action"] == {"type": "expire"} and rule["selection"]["countNumber"] == 10


# parameter, value -> what the resources then show; and what they show by default.
EFFECTS = [
    ("ImageUri", IMAGE, lambda made: made["Function"]["Code"], {"ImageUri": IMAGE}, {"ImageUri": IMAGE}),
    ("Architecture", "arm64", lambda made: made["Function"]["Architectures"], ["arm64"], ["x86_64"]),
    ("Memory", "3008", lambda made: made["Function"]["MemorySize"], "3008", "1769"),
    ("Timeout", "9", lambda made: made["Function"]["Timeout"], "9", "25"),
    ("Concurrency", "3", lambda made: made["Function"].get("ReservedConcurrentExecutions"), "3", "10"),
    ("Concurrency", "0", lambda made: made["Function"].get("ReservedConcurrentExecutions"), "0", "10"),
    ("Concurrency", "-1", lambda made: made["Function"].get("ReservedConcurrentExecutions"), None, "10"),
    ("RateLimit", "5", lambda made: made["Stage"]["MethodSettings"][0]["ThrottlingRateLimit"], "5", "20"),
    ("BurstLimit", "6", lambda made: made["Stage"]["MethodSettings"][0]["ThrottlingBurstLimit"], "6", "40"),
    ("ApiKey", "yes", lambda made: made["PredictPost"]["ApiKeyRequired"], True, False),
    ("ApiKey", "yes", lambda made: {"Key", "UsagePlan", "UsagePlanKey"} & set(made),
     {"Key", "UsagePlan", "UsagePlanKey"}, set()),
    ("ApiKey", "yes", lambda made: re.sub("Deployment.*", "", made["Stage"]["DeploymentId"]), "Keyed", "Open"),
    ("AllowedOrigin", "https://a.example",
     lambda made: made["Function"]["Environment"]["Variables"]["CORS_ORIGIN"], "https://a.example", "*"),
    ("S3Buckets", "a,b", lambda made: made["Function"]["Environment"]["Variables"]["S3_BUCKETS"], "a,b", ""),
    ("S3Buckets", "a,b", lambda made: made.get("ReadPhotos", {}).get("PolicyDocument", {}).get("Statement"),
     [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": ["arn:aws:s3:::a/*", "arn:aws:s3:::b/*"]}], None),
    ("Tracing", "yes", lambda made: (made["Function"]["TracingConfig"]["Mode"], made["Stage"]["TracingEnabled"]),
     ("Active", True), ("PassThrough", False)),
    ("Tracing", "yes", lambda made: "WriteTraces" in made, True, False),
    ("AlarmEmail", "a@b.example", lambda made: made.get("Topic", {}).get("Subscription"),
     [{"Protocol": "email", "Endpoint": "a@b.example"}], None),
    ("AlarmEmail", "a@b.example", lambda made: [made[name].get("AlarmActions") for name in made if "Alarm" in name],
     [["Topic"]] * 3, [None] * 3),
    ("LogDays", "7", lambda made: [made[name]["RetentionInDays"] for name in ("FunctionLogs", "ApiLogs")],
     ["7", "7"], ["30", "30"]),
    ("ApiLogRole", "account", lambda made: {"ApiLogWriter", "ApiAccount"} & set(made), set(),
     {"ApiLogWriter", "ApiAccount"}),
]


@pytest.mark.parametrize("parameter, value, look, then, default", EFFECTS)
def test_parameter(made, parameter, value, look, then, default):
    assert look(made(**{parameter: value})) == then
    assert look(made()) == default


def test_every_parameter_is_tested(template):
    assert {effect[0] for effect in EFFECTS} == set(template["Parameters"])


def test_the_function_answers_before_the_gateway_gives_up(template):
    assert template["Parameters"]["Timeout"]["MaxValue"] < 29


def test_the_function_may_write_its_own_log_and_nothing_else(made):
    resources = made()
    policy, = resources["FunctionRole"]["Policies"]
    statement, = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert statement["Resource"] == "FunctionLogs.Arn"
    assert resources["Function"]["LoggingConfig"] == {"LogGroup": "FunctionLogs"}
    assert "ManagedPolicyArns" not in resources["FunctionRole"]


def test_the_function_reads_the_variables_that_it_is_given(made):
    for name in made()["Function"]["Environment"]["Variables"]:
        assert f'"{name}"' in LAMBDA_CODE


def test_pictures_reach_the_function_as_bytes(made):
    import preprocess
    kinds = made()["Api"]["BinaryMediaTypes"]
    assert {f"image/{name.lower()}" for name in preprocess.FORMATS} < set(kinds)
    assert "multipart/form-data" in kinds and "*/*" not in kinds and "application/json" not in kinds


@pytest.mark.parametrize("name", ["ClientError", "ServerError", "TooLargeError", "NoRouteError"])
def test_errors_of_the_gateway_are_like_the_functions(made, name):
    response = made()[name]
    body = response["ResponseTemplates"]["application/json"].replace("$context.error.messageString", '"Forbidden"')
    assert list(json.loads(body)) == ["error"]
    assert response["ResponseParameters"] == {"gatewayresponse.header.Access-Control-Allow-Origin": "'*'"}


def test_access_log_is_json(made):
    line = re.sub(r'("?)\$context[\w.]+("?)', lambda match: '"x"' if match[1] else "1",
                  made()["Stage"]["AccessLogSetting"]["Format"])
    assert {"ip", "method", "path", "status", "ms", "error"} < set(json.loads(line))


def test_routes(made):
    resources = made()
    paths = {"HealthResource": "/health", "PredictResource": "/predict"}
    assert {(method["HttpMethod"], paths.get(method["ResourceId"], "/")) for method in resources.values()
            if "HttpMethod" in method} == \
        {("GET", "/"), ("GET", "/health"), ("POST", "/predict"), ("OPTIONS", "/predict")}


def test_a_changed_api_has_a_new_deployment(template):
    """API Gateway serves the API as it was when the deployment was made; under its old name none is made."""
    api = {name: resource for name, resource in template["Resources"].items() if resource["Type"].split("::")[-1] in
           ("RestApi", "Resource", "Method", "GatewayResponse")}
    digest = hashlib.sha256(json.dumps(api, sort_keys=True).encode()).hexdigest()[:8]
    for kind in "Open", "Keyed":
        name, = (name for name in template["Resources"] if name.startswith(f"{kind}Deployment"))
        assert name == f"{kind}Deployment{digest}", f"the API has changed: rename {name} (two places) to go with it"
        assert set(template["Resources"][name]["DependsOn"]) == \
            {name for name, resource in api.items() if resource["Type"].endswith(("::Method", "::GatewayResponse"))}


def test_the_dashboard_shows_what_the_function_measures(made):
    import telemetry
    body = made()["Dashboard"]["DashboardBody"]
    metrics = [line for widget in json.loads(body)["widgets"] for line in widget["properties"]["metrics"]]
    names, namespace = set(), None
    for line in metrics:
        if isinstance(line[0], str) and line[0] != "...":
            namespace = line[0] if line[0] != "." else namespace
            if namespace == telemetry.NAMESPACE:
                names.add(line[1])
    assert {"images", "model_ms", "decode_ms", "fetch_ms", "confidence"} == names <= {*telemetry.UNITS, "confidence"}
    assert f"{{{telemetry.NAMESPACE},function,label}}" in body


# What CloudFormation's resource types may call, but not for what this template has.
UNUSED = re.compile(
    r"kms:|s3:|s3files:|ec2:|firehose:|elasticfilesystem:|iam:.*(User|Group)Policy|iam:.*PermissionsBoundary|"
    r"lambda:(Put|Delete).*(CodeSigning|Scaling|Recursion|RuntimeManagement)|lambda:Get(CodeSigning|LayerVersion)|"
    r"lambda:(Pass|Associate|PublishVersion)|logs:(Put|Delete).*(DataProtection|ResourcePolicy|IndexPolicy)|"
    r"logs:.*(KmsKey|BearerToken|Delivery|DeletionProtection|ResourcePolicies)|sns:PutDataProtection|"
    r"apigateway:UpdateRestApiPolicy")
# What the scripts and `docker push` call themselves; tests/test_deploy.py listens to them.
CALLED = {
    *(f"cloudformation:{name}" for name in (
        "CreateChangeSet", "DeleteChangeSet", "DeleteStack", "DescribeChangeSet", "DescribeStackEvents",
        "DescribeStacks", "ExecuteChangeSet", "GetTemplate", "GetTemplateSummary")),
    *(f"ecr:{name}" for name in (
        "GetAuthorizationToken", "BatchCheckLayerAvailability", "BatchGetImage", "CompleteLayerUpload",
        "GetDownloadUrlForLayer", "InitiateLayerUpload", "PutImage", "UploadLayerPart",
        "BatchDeleteImage", "ListImages")),  # the last two by CloudFormation, to empty the repository
    "sts:GetCallerIdentity", "lambda:GetAccountSettings", "logs:FilterLogEvents"}


def test_the_policy_holds_what_is_needed_and_no_more(template):
    types = {resource["Type"] for resource in template["Resources"].values()}
    code = ("import json, sys, pathlib, cfnlint; data = pathlib.Path(cfnlint.__file__).parent / 'data/schemas'\n"
            "names = json.loads((data / 'providers/us-east-1.json').read_text())\n"
            "schemas = [json.loads((data / f'resources/{names[name]}.json').read_text()) for name in sys.argv[1:]]\n"
            "print(json.dumps(sorted({action for schema in schemas for handler, what in schema['handlers'].items()\n"
            "                         if handler != 'list' for action in what['permissions']})))")
    answer = subprocess.run([BIN / "python", "-c", code, *types], check=True, capture_output=True, timeout=60)
    needed = {action for action in json.loads(answer.stdout) if not UNUSED.match(action)} | CALLED
    policy = json.loads((ROOT / "lambda" / "deploy-policy.json").read_text())
    actions = [statement["Action"] for statement in policy["Statement"]]
    assert {action for these in actions for action in ([these] if isinstance(these, str) else these)} == needed
