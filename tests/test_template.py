"""lambda/template.yaml, deploy-policy.json and boundary.json: each parameter works, and each promise is kept."""
import fnmatch
import json
import re
import subprocess

import pytest
from cloud_radar.cf.unit import Template

from conftest import ROOT

TEMPLATE = ROOT / "lambda" / "template.yaml"
BIN = ROOT / ".venv" / "aws-tests" / "bin"
IMAGE = "1.dkr.ecr.eu-central-1.amazonaws.com/clothes@sha256:" + "0" * 64
LAMBDA_CODE = "".join(path.read_text() for path in (ROOT / "lambda").glob("*.py"))
POLICY = json.loads((ROOT / "lambda" / "deploy-policy.json").read_text())
BOUNDARY = json.loads((ROOT / "lambda" / "boundary.json").read_text())


@pytest.fixture(scope="session")
def template():
    template = Template.from_yaml(TEMPLATE)
    Template.AccountId, Template.StackName = "123456789012", "clothes"
    return template


@pytest.fixture
def made(template):
    """made(Parameter=value, …): the properties of the resources that CloudFormation would make, by logical name."""
    def made(**parameters):
        parameters = {"ImageUri": IMAGE, "Live": "3", **parameters}
        stack = template.create_stack(parameters, region="eu-central-1")
        return {name: resource.get("Properties", {}) for name, resource in stack.data["Resources"].items()}
    return made


def test_cfn_lint_and_shellcheck_find_nothing():
    subprocess.run([BIN / "cfn-lint", "--include-checks", "I", "--", TEMPLATE], check=True, timeout=120)
    subprocess.run([BIN / "shellcheck", "-x", *ROOT.glob("scripts/**/*.sh"), *ROOT.glob("tests/**/*.sh")],
                   check=True, cwd=ROOT, timeout=60)


def test_sizes_stay_within_their_limits():
    assert len((ROOT / "scripts" / "deploy.sh").read_text().splitlines()) <= 100
    assert len(TEMPLATE.read_text().splitlines()) <= 390
    assert TEMPLATE.stat().st_size < 51200, "`aws cloudformation deploy` takes no more without a bucket"
    assert len(json.dumps(POLICY, separators=(",", ":"))) <= 6144, "IAM takes no larger managed policy"


@pytest.mark.parametrize("parameters, present, absent", [
    ({"ImageUri": "", "Live": ""}, {"Repository"}, {"Function", "Alias", "Api"}),
    ({"Live": ""}, {"Repository", "Function"}, {"Alias", "Api", "Permission", "ErrorAlarm"}),
    ({}, {"Repository", "Function", "Alias", "Api", "Permission", "ErrorAlarm"}, set())])
def test_nothing_public_is_made_before_a_version_has_passed_its_check(made, parameters, present, absent):
    resources = set(made(**parameters))
    assert present <= resources and not absent & resources


def test_the_api_invokes_the_alias_which_points_to_the_live_version(made):
    resources = made(Live="7")
    assert (resources["Alias"]["Name"], resources["Alias"]["FunctionVersion"]) == ("live", "7")
    assert resources["Integration"]["IntegrationUri"] == resources["Permission"]["FunctionName"] == "Alias"
    assert resources["Api"]["ProtocolType"] == "HTTP" and resources["Integration"]["PayloadFormatVersion"] == "2.0"
    assert resources["Route"]["RouteKey"] == resources["Stage"]["StageName"] == "$default"


def test_images_never_expire(made):
    repository = made()["Repository"]
    assert "LifecyclePolicy" not in repository
    assert repository["ImageTagMutability"] == "IMMUTABLE" and repository["ImageScanningConfiguration"]["ScanOnPush"]


def variables(made):
    return made["Function"]["Environment"]["Variables"]


def photo_policies(made):
    return [policy["PolicyDocument"]["Statement"] for policy in made["FunctionRole"]["Policies"][1:] if policy]


# parameter, value -> what the resources then show; and what they show by default.
KEYS = "ann:" + "a" * 64
EFFECTS = [
    ("Architecture", "x86_64", lambda made: made["Function"]["Architectures"], ["x86_64"], ["arm64"]),
    ("Memory", 3008, lambda made: made["Function"]["MemorySize"], 3008, 1769),
    ("Timeout", 9, lambda made: made["Function"]["Timeout"], 9, 25),
    ("Concurrency", 3, lambda made: made["Function"].get("ReservedConcurrentExecutions"), 3, 10),
    ("Concurrency", 0, lambda made: made["Function"].get("ReservedConcurrentExecutions"), 0, 10),
    ("Concurrency", -1, lambda made: made["Function"].get("ReservedConcurrentExecutions"), None, 10),
    ("RateLimit", 7, lambda made: made["Stage"]["DefaultRouteSettings"]["ThrottlingRateLimit"], 7, 5),
    ("BurstLimit", 6, lambda made: made["Stage"]["DefaultRouteSettings"]["ThrottlingBurstLimit"], 6, 10),
    ("ApiKeys", KEYS, lambda made: variables(made).get("API_KEYS"), KEYS, None),
    ("AllowedOrigin", "https://a.example", lambda made: variables(made)["CORS_ORIGIN"], "https://a.example", "*"),
    ("S3Buckets", "a,b", lambda made: variables(made).get("S3_BUCKETS"), "a,b", None),
    ("S3Buckets", "a,b", photo_policies, [[{"Effect": "Allow", "Action": "s3:GetObject", "Resource": [
        "arn:*:s3:::a/*", "arn:*:s3:::b/*"]}]], []),
    ("BulkConcurrency", 7, lambda made: made.get("BulkFunction", {}).get("ReservedConcurrentExecutions"), None, None),
    ("SnapStart", "yes", lambda made: made["Function"]["SnapStart"]["ApplyOn"], "PublishedVersions", "None"),
    ("ProvisionedConcurrency", 2, lambda made: made["Alias"].get("ProvisionedConcurrencyConfig"),
     {"ProvisionedConcurrentExecutions": 2}, None),
    ("Tracing", "yes", lambda made: made["Function"]["TracingConfig"]["Mode"], "Active", "PassThrough"),
    ("AlarmEmail", "a@b.example", lambda made: made.get("Topic", {}).get("Subscription"),
     [{"Protocol": "email", "Endpoint": "a@b.example"}], None),
    ("AlarmEmail", "a@b.example", lambda made: [made[name].get("AlarmActions") for name in made if "Alarm" in name],
     [["Topic"]] * 4, [None] * 4),
    ("LogDays", 7, lambda made: [made[name]["RetentionInDays"] for name in ("FunctionLogs", "ApiLogs")],
     [7, 7], [30, 30]),
    ("Boundary", "arn:aws:iam::1:policy/b", lambda made: made["FunctionRole"].get("PermissionsBoundary"),
     "arn:aws:iam::1:policy/b", None),
]


@pytest.mark.parametrize("parameter, value, look, then, default", EFFECTS)
def test_a_parameter_has_its_effect(made, parameter, value, look, then, default):
    assert look(made(**{parameter: value})) == then
    assert look(made()) == default


def test_the_budget_warns_by_mail_at_80_and_100_percent(made):
    assert "Budget" not in made() and "Budget" not in made(AlarmEmail="a@b.example", MonthlyBudget=0)
    budget = made(AlarmEmail="a@b.example", MonthlyBudget=50)["Budget"]
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 50, "Unit": "USD"}
    assert [notification["Notification"]["Threshold"] for notification in budget["NotificationsWithSubscribers"]] == \
        [80, 100]


def test_whole_buckets_are_labelled_by_a_function_of_their_own(made, template):
    assert not [name for name in {**made(S3Buckets="a"), **made(Bulk="yes")} if name.startswith("Bulk")]
    resources = made(Bulk="yes", S3Buckets="a,b", BulkConcurrency=7)
    function, role = resources["BulkFunction"], resources["BulkRole"]
    assert function["Code"] == resources["Function"]["Code"] and function["ReservedConcurrentExecutions"] == 7
    assert function["Environment"] == {"Variables": {"S3_BUCKETS": "a,b"}}
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {
        "Service": "batchoperations.s3.amazonaws.com"}
    rights = {right["Action"]: right["Resource"] for right in role["Policies"][0]["PolicyDocument"]["Statement"]}
    assert rights == {"lambda:InvokeFunction": "BulkFunction.Arn", "s3:PutObject": "BulkReports.Arn/*",
                      "s3:PutInventoryConfiguration": ["arn:*:s3:::a", "arn:*:s3:::b"]}
    assert template.template["Resources"]["BulkReports"]["DeletionPolicy"] == "Retain"
    assert {"BulkFunction", "BulkRole", "BulkReports"} <= set(template.template["Outputs"])


def test_every_parameter_is_tested(template):
    tested = {effect[0] for effect in EFFECTS} | {"ImageUri", "Live", "MonthlyBudget", "Bulk"}
    assert tested == set(template.template["Parameters"])


def test_the_gateway_admits_no_more_requests_at_once_than_the_function_has_instances(made):
    resources = made()
    limits = resources["Stage"]["DefaultRouteSettings"]
    assert limits["ThrottlingBurstLimit"] <= resources["Function"]["ReservedConcurrentExecutions"]
    assert resources["Function"]["Timeout"] < 30, "an HTTP API gives up after 30 seconds"


def test_the_function_may_write_its_log_and_traces_and_nothing_else(made):
    role = made()["FunctionRole"]
    statements = [statement for policy in role["Policies"] if policy for statement in
                  policy["PolicyDocument"]["Statement"]]
    assert [(statement["Action"], statement["Resource"]) for statement in statements] == [
        (["logs:CreateLogStream", "logs:PutLogEvents"], "FunctionLogs.Arn"),
        (["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*")]
    assert "ManagedPolicyArns" not in role and made()["Function"]["LoggingConfig"] == {"LogGroup": "FunctionLogs"}


def test_the_function_reads_the_variables_that_it_is_given(made):
    for name in variables(made(ApiKeys=KEYS, S3Buckets="a")):
        assert f'"{name}"' in LAMBDA_CODE


def test_the_access_log_is_json(made):
    line = re.sub(r"\$context[\w.]+", "x", made()["Stage"]["AccessLogSettings"]["Format"])
    assert {"ip", "method", "path", "status", "ms", "error"} < set(json.loads(line))


def test_the_error_alarm_counts_the_functions_own_errors(made):
    import telemetry
    failed, crashes, answers = made()["ErrorAlarm"]["Metrics"]
    assert failed["Expression"] == "FILL(crashes, 0) + FILL(answers, 0)"
    assert crashes["MetricStat"]["Metric"]["MetricName"] == "Errors"
    metric = answers["MetricStat"]["Metric"]
    assert metric["Namespace"] == telemetry.NAMESPACE and metric["MetricName"] in telemetry.UNITS


def test_the_unsure_alarm_watches_whether_answers_reach_both_thresholds(made):
    import telemetry
    alarm = made()["UnsureAlarm"]
    assert alarm["MetricName"] == "confident" and alarm["MetricName"] in telemetry.UNITS
    assert (alarm["ExtendedStatistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == (
        "p30", "LessThanThreshold", 0.5)


@pytest.mark.parametrize("status, count", [(200, 0), (422, 0), (500, 1), (502, 0), (504, 0)])
def test_a_dead_url_does_not_count_as_a_server_error(status, count, monkeypatch, capsys):
    import telemetry
    monkeypatch.setattr(telemetry, "FUNCTION", "clothes")
    telemetry.write({"status": status})
    assert json.loads(capsys.readouterr().out)["server_errors"] == count


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
    assert {"images", "model_ms", "decode_ms", "fetch_ms", "confidence", "familiarity", "confident"} == names
    assert names <= telemetry.UNITS.keys()
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


@pytest.mark.parametrize("action", ["iam:CreateRole", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary"])
def test_deployers_grant_rights_only_within_the_boundary(action):
    statement, = allows(POLICY, action, ROLE)
    assert statement["Condition"] == {"ArnLike": {"iam:PermissionsBoundary": "arn:*:iam::*:policy/clothes-boundary"}}
    assert not allows(POLICY, action, "arn:aws:iam::123456789012:role/admin")


@pytest.mark.parametrize("action, resource", [
    ("iam:DeleteRolePermissionsBoundary", ROLE), ("iam:AttachRolePolicy", ROLE),
    ("iam:CreatePolicyVersion", "arn:aws:iam::123456789012:policy/clothes-boundary"),
    ("iam:SetDefaultPolicyVersion", "arn:aws:iam::123456789012:policy/clothes-boundary"),
    ("iam:DeletePolicy", "arn:aws:iam::123456789012:policy/clothes-boundary"),
    ("iam:PassRole", "arn:aws:iam::123456789012:role/admin"), ("sts:AssumeRole", ROLE),
    ("iam:PutUserPolicy", "arn:aws:iam::123456789012:user/clothes-me"),
    ("lambda:UpdateFunctionCode", "arn:aws:lambda:eu-central-1:123456789012:function:other")])
def test_deployers_cannot_leave_the_boundary(action, resource):
    assert not allows(POLICY, action, resource)


def test_roles_are_passed_to_lambda_and_s3_batch_operations_only():
    statement, = allows(POLICY, "iam:PassRole", ROLE)
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": [
        "lambda.amazonaws.com", "batchoperations.s3.amazonaws.com"]}}


def test_no_statement_allows_all_actions():
    assert not [action for policy in (POLICY, BOUNDARY) for statement in policy["Statement"]
                for action in statement["Action"] if "*" in action]


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
CALLED = {
    *(f"cloudformation:{name}" for name in (
        "ContinueUpdateRollback", "CreateChangeSet", "DeleteChangeSet", "DeleteStack", "DescribeChangeSet",
        "DescribeEvents", "DescribeStackEvents", "DescribeStacks", "ExecuteChangeSet", "GetTemplate",
        "GetTemplateSummary")),
    *(f"ecr:{name}" for name in (
        "GetAuthorizationToken", "BatchCheckLayerAvailability", "BatchGetImage", "CompleteLayerUpload",
        "GetDownloadUrlForLayer", "InitiateLayerUpload", "PutImage", "UploadLayerPart", "BatchDeleteImage",
        "ListImages")),
    *(f"lambda:{name}" for name in (
        "GetAccountSettings", "GetFunctionConfiguration", "InvokeFunction", "ListVersionsByFunction",
        "PublishVersion")),
    # The access log of an HTTP API; the last makes API Gateway's own role, once in an account.
    *(f"logs:{name}" for name in (
        "CreateLogDelivery", "DeleteLogDelivery", "DescribeResourcePolicies", "GetLogDelivery", "ListLogDeliveries",
        "PutResourcePolicy", "UpdateLogDelivery")), "iam:CreateServiceLinkedRole",
    # make label-bucket, and the bucket for its reports.
    *(f"s3:{name}" for name in (
        "CreateBucket", "CreateJob", "DescribeJob", "GetBucketLocation", "GetLifecycleConfiguration", "GetObject",
        "ListBucket", "ListJobs", "PutBucketTagging", "PutLifecycleConfiguration")),
    "iam:ListPolicies", "sts:GetCallerIdentity", "logs:FilterLogEvents"}


def test_the_policy_allows_what_is_needed_and_no_more():
    types = {resource["Type"] for resource in Template.from_yaml(TEMPLATE).template["Resources"].values()}
    code = ("import json, sys, pathlib, cfnlint; data = pathlib.Path(cfnlint.__file__).parent / 'data/schemas'\n"
            "names = json.loads((data / 'providers/us-east-1.json').read_text())\n"
            "schemas = [json.loads((data / f'resources/{names[name]}.json').read_text()) for name in sys.argv[1:]]\n"
            "print(json.dumps(sorted({action for schema in schemas for handler, what in schema['handlers'].items()\n"
            "                         if handler != 'list' for action in what['permissions']})))")
    answer = subprocess.run([BIN / "python", "-c", code, *types], check=True, capture_output=True, timeout=60)
    needed = {action for action in json.loads(answer.stdout) if not UNUSED.match(action)} | CALLED
    assert {action for statement in POLICY["Statement"] for action in statement["Action"]} == needed
