"""lambda/template.yaml, deploy-policy.json and boundary.json: each parameter works, and each promise is kept."""
import fnmatch
import json
import re
import subprocess

import pytest
from cloud_radar.cf.unit import Template

import telemetry
from conftest import ROOT

FILE = ROOT / "lambda" / "template.yaml"
TEMPLATE = Template.from_yaml(FILE)
Template.AccountId, Template.StackName = "123456789012", "clothes"
BIN = ROOT / ".venv" / "aws-tests" / "bin"
IMAGE = "1.dkr.ecr.eu-central-1.amazonaws.com/clothes@sha256:" + "0" * 64
POLICY = json.loads((ROOT / "lambda" / "deploy-policy.json").read_text())
BOUNDARY = json.loads((ROOT / "lambda" / "boundary.json").read_text())


def made(**parameters) -> dict[str, dict]:
    """The properties of the resources that CloudFormation would make, by logical name."""
    stack = TEMPLATE.create_stack({"ImageUri": IMAGE, "Live": "3", **parameters}, region="eu-central-1")
    return {name: resource.get("Properties", {}) for name, resource in stack.data["Resources"].items()}


def rights(role: dict) -> list[tuple]:
    """What a role allows."""
    statements = [statement for policy in role["Policies"] if policy
                  for statement in policy["PolicyDocument"]["Statement"]]
    assert {statement["Effect"] for statement in statements} == {"Allow"}
    return [(statement["Action"], statement["Resource"]) for statement in statements]


def test_cfn_lint_and_shellcheck_find_nothing():
    subprocess.run([BIN / "cfn-lint", "--include-checks", "I", "--", FILE], check=True, timeout=120)
    subprocess.run([BIN / "shellcheck", "-x", *ROOT.glob("scripts/**/*.sh"), *ROOT.glob("tests/**/*.sh")],
                   check=True, cwd=ROOT, timeout=60)


def test_sizes_stay_within_their_limits():
    assert len((ROOT / "scripts" / "deploy.sh").read_text().splitlines()) <= 100
    assert len(FILE.read_text().splitlines()) <= 390
    assert FILE.stat().st_size < 51200, "`aws cloudformation deploy` takes no more without a bucket"
    assert len(json.dumps(POLICY, separators=(",", ":"))) <= 6144, "IAM takes no larger managed policy"


@pytest.mark.parametrize("parameters, present, absent", [
    ({"ImageUri": "", "Live": ""}, {"Repository"}, {"Function", "Alias", "Api"}),
    ({"Live": ""}, {"Repository", "Function"}, {"Alias", "Api", "Permission", "ErrorAlarm"}),
    ({}, {"Repository", "Function", "Alias", "Api", "Permission", "ErrorAlarm"}, set())])
def test_nothing_public_is_made_before_a_version_has_passed_its_check(parameters, present, absent):
    resources = set(made(**parameters))
    assert present <= resources and not absent & resources


def test_the_api_invokes_the_alias_which_points_to_the_live_version():
    resources = made(Live="7")
    assert (resources["Alias"]["Name"], resources["Alias"]["FunctionVersion"]) == ("live", "7")
    assert resources["Integration"]["IntegrationUri"] == resources["Permission"]["FunctionName"] == "Alias"
    assert resources["Api"]["ProtocolType"] == "HTTP" and resources["Integration"]["PayloadFormatVersion"] == "2.0"
    assert resources["Route"]["RouteKey"] == resources["Stage"]["StageName"] == "$default"


def test_images_never_expire():
    repository = made()["Repository"]
    assert "LifecyclePolicy" not in repository
    assert repository["ImageTagMutability"] == "IMMUTABLE" and repository["ImageScanningConfiguration"]["ScanOnPush"]


KEYS = "ann:" + "a" * 64
# A parameter, its value, the property that shows it, what that is then, and what it is by default.
EFFECTS = [
    ("Architecture", "x86_64", "Function.Architectures", ["x86_64"], ["arm64"]),
    ("Memory", 3008, "Function.MemorySize", 3008, 1769),
    ("Timeout", 9, "Function.Timeout", 9, 25),
    ("Concurrency", 0, "Function.ReservedConcurrentExecutions", 0, 10),
    ("Concurrency", -1, "Function.ReservedConcurrentExecutions", None, 10),
    ("RateLimit", 7, "Stage.DefaultRouteSettings.ThrottlingRateLimit", 7, 5),
    ("BurstLimit", 6, "Stage.DefaultRouteSettings.ThrottlingBurstLimit", 6, 10),
    ("ApiKeys", KEYS, "Function.Environment.Variables.API_KEYS", KEYS, None),
    ("AllowedOrigin", "https://a.example", "Function.Environment.Variables.CORS_ORIGIN", "https://a.example", "*"),
    ("S3Buckets", "a,b", "Function.Environment.Variables.S3_BUCKETS", "a,b", None),
    ("SnapStart", "yes", "Function.SnapStart.ApplyOn", "PublishedVersions", "None"),
    ("ProvisionedConcurrency", 2, "Alias.ProvisionedConcurrencyConfig.ProvisionedConcurrentExecutions", 2, None),
    ("Tracing", "yes", "Function.TracingConfig.Mode", "Active", "PassThrough"),
    ("AlarmEmail", "a@b.example", "Topic.Subscription", [{"Protocol": "email", "Endpoint": "a@b.example"}], None),
    ("LogDays", 7, "FunctionLogs.RetentionInDays", 7, 30),
    ("LogDays", 7, "ApiLogs.RetentionInDays", 7, 30),
    ("Boundary", "arn:aws:iam::1:policy/b", "FunctionRole.PermissionsBoundary", "arn:aws:iam::1:policy/b", None),
]


@pytest.mark.parametrize("parameter, value, where, then, default", EFFECTS)
def test_a_parameter_has_its_effect(parameter, value, where, then, default):
    for resources, expected in [(made(**{parameter: value}), then), (made(), default)]:
        for name in where.split("."):
            resources = (resources or {}).get(name)
        assert resources == expected


def test_all_alarms_go_to_the_address_if_there_is_one():
    def actions(resources):
        return [properties.get("AlarmActions") for name, properties in resources.items() if "Alarm" in name]
    assert actions(made(AlarmEmail="a@b.example")) == [["Topic"]] * 4
    assert actions(made()) == [None] * 4


def test_the_budget_warns_by_mail_at_80_and_100_percent():
    assert "Budget" not in made() and "Budget" not in made(AlarmEmail="a@b.example", MonthlyBudget=0)
    budget = made(AlarmEmail="a@b.example", MonthlyBudget=50)["Budget"]
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 50, "Unit": "USD"}
    assert [notification["Notification"]["Threshold"] for notification in budget["NotificationsWithSubscribers"]] == \
        [80, 100]


def test_whole_buckets_are_labelled_by_a_function_of_their_own():
    assert not [name for name in {**made(S3Buckets="a"), **made(Bulk="yes")} if name.startswith("Bulk")]
    resources = made(Bulk="yes", S3Buckets="a,b", BulkConcurrency=7)
    function, role = resources["BulkFunction"], resources["BulkRole"]
    assert function["Code"] == resources["Function"]["Code"] and function["ReservedConcurrentExecutions"] == 7
    assert function["Environment"] == {"Variables": {"S3_BUCKETS": "a,b"}}
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {
        "Service": "batchoperations.s3.amazonaws.com"}
    assert rights(role) == [
        ("lambda:InvokeFunction", "BulkFunction.Arn"), ("s3:PutObject", "BulkReports.Arn/*"),
        ("s3:PutInventoryConfiguration", ["arn:*:s3:::a", "arn:*:s3:::b"])]
    assert TEMPLATE.template["Resources"]["BulkReports"]["DeletionPolicy"] == "Retain"
    assert {"BulkFunction", "BulkRole", "BulkReports"} <= set(TEMPLATE.template["Outputs"])


def test_every_parameter_is_tested():
    tested = {effect[0] for effect in EFFECTS} | {"ImageUri", "Live", "MonthlyBudget", "Bulk", "BulkConcurrency"}
    assert tested == set(TEMPLATE.template["Parameters"])


def test_the_gateway_admits_no_more_requests_at_once_than_the_function_has_instances():
    resources = made()
    limits = resources["Stage"]["DefaultRouteSettings"]
    assert limits["ThrottlingBurstLimit"] <= resources["Function"]["ReservedConcurrentExecutions"]
    assert resources["Function"]["Timeout"] < 30, "an HTTP API gives up after 30 seconds"


def test_the_function_may_write_its_log_and_traces_and_read_its_buckets_and_nothing_else():
    role = made()["FunctionRole"]
    assert rights(role) == [(["logs:CreateLogStream", "logs:PutLogEvents"], "FunctionLogs.Arn"),
                            (["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*")]
    assert rights(made(S3Buckets="a,b")["FunctionRole"]) == [
        *rights(role), ("s3:GetObject", ["arn:*:s3:::a/*", "arn:*:s3:::b/*"])]
    assert "ManagedPolicyArns" not in role and made()["Function"]["LoggingConfig"] == {"LogGroup": "FunctionLogs"}


def test_the_function_reads_the_variables_that_it_is_given():
    code = "".join(path.read_text() for path in (ROOT / "lambda").glob("*.py"))
    for name in made(ApiKeys=KEYS, S3Buckets="a")["Function"]["Environment"]["Variables"]:
        assert f'"{name}"' in code


def test_the_access_log_is_json():
    line = re.sub(r"\$context[\w.]+", "x", made()["Stage"]["AccessLogSettings"]["Format"])
    assert {"ip", "method", "path", "status", "ms", "error"} < set(json.loads(line))


def test_the_error_alarm_counts_the_functions_own_errors():
    failed, crashes, answers = made()["ErrorAlarm"]["Metrics"]
    assert failed["Expression"] == "FILL(crashes, 0) + FILL(answers, 0)"
    assert crashes["MetricStat"]["Metric"]["MetricName"] == "Errors"
    metric = answers["MetricStat"]["Metric"]
    assert metric["Namespace"] == telemetry.NAMESPACE and metric["MetricName"] in telemetry.METRICS


def test_the_unsure_alarm_watches_whether_answers_reach_both_thresholds():
    alarm = made()["UnsureAlarm"]
    assert alarm["MetricName"] == "confident" and alarm["MetricName"] in telemetry.METRICS
    assert (alarm["ExtendedStatistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == (
        "p30", "LessThanThreshold", 0.5)


@pytest.mark.parametrize("status, count", [(500, 1), (502, 0), (504, 0)])
def test_a_dead_url_does_not_count_as_a_server_error(status, count, monkeypatch, capsys):
    monkeypatch.setattr(telemetry, "FUNCTION", "clothes")
    telemetry.write({"status": status})
    assert json.loads(capsys.readouterr().out)["server_errors"] == count


def test_the_dashboard_shows_what_the_function_measures():
    body = made()["Dashboard"]["DashboardBody"]
    metrics = [line for widget in json.loads(body)["widgets"] for line in widget["properties"]["metrics"]]
    names, namespace = set(), None
    for line in metrics:
        if isinstance(line[0], str) and line[0] != "...":
            namespace = line[0] if line[0] != "." else namespace
            if namespace == telemetry.NAMESPACE:
                names.add(line[1])
    assert {"images", "model_ms", "decode_ms", "fetch_ms", "confidence", "familiarity", "confident"} == names
    assert names <= {*telemetry.METRICS}
    assert f"{{{telemetry.NAMESPACE},function,label}}" in body


# The policies. Actions that are newer than parliament's list of them:
NEWER = {"cloudformation:DescribeEvents", "lambda:GetFunctionScalingConfig", "apigateway:TagResource",
         "apigateway:UntagResource"}


@pytest.mark.parametrize("policy", [POLICY, BOUNDARY], ids=["deploy-policy", "boundary"])
def test_policies_are_well_formed_and_their_resources_fit_their_actions(policy):
    code = ("import json, parliament, sys; findings = parliament.analyze_policy_string(sys.argv[1]).findings\n"
            "print(json.dumps([[finding.issue, str(finding.detail)] for finding in findings]))")
    answer = subprocess.run([BIN / "python", "-W", "ignore", "-c", code, json.dumps(policy)], check=True,
                            capture_output=True, timeout=60)
    assert [(issue, detail) for issue, detail in json.loads(answer.stdout) if issue != "RESOURCE_STAR"
            and not any(detail.endswith(action) for action in NEWER)] == []


def allows(policy: dict, action: str, resource: str) -> list[dict]:
    """The statements of a policy that allow an action on a resource, some of them under conditions."""
    def matches(patterns, text):
        return any(fnmatch.fnmatchcase(text.lower(), pattern.lower())
                   for pattern in ([patterns] if isinstance(patterns, str) else patterns))
    return [statement for statement in policy["Statement"]
            if matches(statement["Action"], action) and matches(statement["Resource"], resource)]


ROLE = "arn:aws:iam::123456789012:role/clothes-FunctionRole-1"
WITHIN_THE_BOUNDARY = {"ArnLike": {"iam:PermissionsBoundary": "arn:*:iam::*:policy/clothes-boundary"}}
TO_THE_FUNCTIONS = {"StringEquals": {"iam:PassedToService": [
    "lambda.amazonaws.com", "batchoperations.s3.amazonaws.com"]}}


@pytest.mark.parametrize("action, condition", [
    ("iam:CreateRole", WITHIN_THE_BOUNDARY), ("iam:PutRolePolicy", WITHIN_THE_BOUNDARY),
    ("iam:PutRolePermissionsBoundary", WITHIN_THE_BOUNDARY), ("iam:PassRole", TO_THE_FUNCTIONS)])
def test_deployers_grant_rights_to_the_stacks_roles_only_on_a_condition(action, condition):
    statement, = allows(POLICY, action, ROLE)
    assert statement["Condition"] == condition
    assert not allows(POLICY, action, "arn:aws:iam::123456789012:role/admin")


@pytest.mark.parametrize("action, resource", [
    ("iam:DeleteRolePermissionsBoundary", ROLE), ("iam:AttachRolePolicy", ROLE), ("sts:AssumeRole", ROLE),
    ("iam:CreatePolicyVersion", "arn:aws:iam::123456789012:policy/clothes-boundary"),
    ("lambda:UpdateFunctionCode", "arn:aws:lambda:eu-central-1:123456789012:function:other")])
def test_deployers_cannot_leave_the_boundary(action, resource):
    assert not allows(POLICY, action, resource)


@pytest.mark.parametrize("action, resource, allowed", [
    ("logs:PutLogEvents", "arn:aws:logs:eu-central-1:123456789012:log-group:clothes-FunctionLogs-1:log-stream:a", True),
    ("xray:PutTraceSegments", "*", True), ("s3:GetObject", "arn:aws:s3:::clothes-photos/a.jpg", True),
    ("s3:GetObject", "arn:aws:s3:::payroll/a.csv", False), ("s3:PutObject", "arn:aws:s3:::clothes-photos/a", False),
    ("logs:PutLogEvents", "arn:aws:logs:eu-central-1:123456789012:log-group:other", False),
    ("iam:CreateRole", ROLE, False), ("sts:AssumeRole", "arn:aws:iam::123456789012:role/admin", False),
    ("s3:PutObject", "arn:aws:s3:::clothes-bulkreports-1/labels/a", True),
    ("s3:PutInventoryConfiguration", "arn:aws:s3:::clothes-photos", True),
    ("s3:PutInventoryConfiguration", "arn:aws:s3:::payroll", False),
    ("lambda:InvokeFunction", "arn:aws:lambda:eu-central-1:123456789012:function:clothes-BulkFunction-1", True),
    ("lambda:InvokeFunction", "arn:aws:lambda:eu-central-1:123456789012:function:other", False)])
def test_the_boundary_allows_what_the_function_needs_and_no_more(action, resource, allowed):
    assert bool(allows(BOUNDARY, action, resource)) == allowed


# What CloudFormation's resource types may call, but not for what this template has.
UNUSED = re.compile(
    r"kms:|s3[a-z-]*:|s3files:|ec2:|firehose:|elasticfilesystem:|billing:|codedeploy:|iam:.*(User|Group)Policy|"
    r"iam:(DeleteRolePermissionsBoundary|(Attach|Detach)RolePolicy)|lambda:PublishVersion|"
    r"lambda:(Put|Delete).*(CodeSigning|Scaling|Recursion|RuntimeManagement)|lambda:Get(CodeSigning|LayerVersion)|"
    r"lambda:(Pass|Associate)|logs:(Put|Delete).*(DataProtection|ResourcePolicy|IndexPolicy)|ecr:PutLifecyclePolicy|"
    r"logs:.*(KmsKey|BearerToken|Delivery|DeletionProtection|ResourcePolicies)|sns:PutDataProtection")
# What the scripts and `docker push` call themselves (tests/test_deploy.py listens to them), and what is advised.
CALLED = {f"{service}:{name}" for service, names in {
    "cloudformation": """ContinueUpdateRollback CreateChangeSet DeleteChangeSet DeleteStack DescribeChangeSet
        DescribeEvents DescribeStacks ExecuteChangeSet GetTemplate GetTemplateSummary""",
    "ecr": """GetAuthorizationToken BatchCheckLayerAvailability BatchGetImage CompleteLayerUpload
        GetDownloadUrlForLayer InitiateLayerUpload PutImage UploadLayerPart BatchDeleteImage ListImages""",
    "iam": "CreateServiceLinkedRole ListPolicies",  # API Gateway makes its own role, once in an account
    "lambda": "GetAccountSettings GetFunctionConfiguration InvokeFunction ListVersionsByFunction PublishVersion",
    # The access log of an HTTP API, and make logs.
    "logs": """CreateLogDelivery DeleteLogDelivery DescribeResourcePolicies GetLogDelivery ListLogDeliveries
        PutResourcePolicy UpdateLogDelivery FilterLogEvents""",
    # make label-bucket, and the bucket for its reports.
    "s3": """CreateBucket CreateJob DescribeJob GetBucketLocation GetLifecycleConfiguration GetObject ListBucket
        ListJobs PutBucketTagging PutLifecycleConfiguration""",
    "sts": "GetCallerIdentity"}.items() for name in names.split()}


def test_the_policy_allows_what_is_needed_and_no_more():
    types = {resource["Type"] for resource in Template.from_yaml(FILE).template["Resources"].values()}
    code = ("import json, sys, pathlib, cfnlint; data = pathlib.Path(cfnlint.__file__).parent / 'data/schemas'\n"
            "names = json.loads((data / 'providers/us-east-1.json').read_text())\n"
            "schemas = [json.loads((data / f'resources/{names[name]}.json').read_text()) for name in sys.argv[1:]]\n"
            "print(json.dumps(sorted({action for schema in schemas for handler, what in schema['handlers'].items()\n"
            "                         if handler != 'list' for action in what['permissions']})))")
    answer = subprocess.run([BIN / "python", "-c", code, *types], check=True, capture_output=True, timeout=60)
    needed = {action for action in json.loads(answer.stdout) if not UNUSED.match(action)} | CALLED
    assert {action for statement in POLICY["Statement"] for action in statement["Action"]} == needed
