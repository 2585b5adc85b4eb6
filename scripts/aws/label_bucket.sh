#!/usr/bin/env bash
# Labels all photos of an S3 bucket with the deployed model, by S3 Batch Operations, into a table like `make label`'s.
# It asks before it starts a job. Ctrl-C leaves the job running; the same command finds it again.
# Environment: BUCKET; PREFIX of the keys, if not all; OUT, the table (.csv or .jsonl); STACK, made with Bulk=yes; AWS,
# the client; POLL, the seconds between two looks at the job.
# shellcheck source=scripts/aws/common.sh
source "$(dirname "$0")/common.sh"
PREFIX=${PREFIX-} OUT=${OUT:-labels.csv} POLL=${POLL:-10}

bulk() { PYTHONPATH=$(dirname "$0")/.. python3 "$(dirname "$0")/bulk.py" "$@"; }

# Show what a job would do and cost, ask, and create it. Sets job.
start() {
  local answer generator objects report
  objects=$(aws s3api list-objects-v2 --bucket "$BUCKET" --prefix "$PREFIX" --output text \
    --query "length(Contents || \`[]\`)" | awk '{ sum += $1 } END { print sum + 0 }')
  ((objects)) || die "there is nothing in s3://$BUCKET/$PREFIX" "Check BUCKET and PREFIX."
  printf '%-8s %s\n' Objects "$objects in s3://$BUCKET/$PREFIX" Function "$function" Table "$OUT" \
    Cost "$(bulk plan "$objects" "$(value Memory)" "$(value Architecture)" "$(value BulkConcurrency)")"
  read -rp "Label them? [y/N] " answer || true
  [[ $answer == [yY]* ]] || die "no job was started."
  report="Enabled=true,Prefix=labels,ReportScope=AllTasks,Format=Report_CSV_20180820"
  generator="SourceBucket=arn:aws:s3:::$BUCKET,EnableManifestOutput=false"
  if [[ $PREFIX ]]; then
    generator+=",Filter={KeyNameConstraint={MatchAnyPrefix=[\"$(printf %s "$PREFIX" | sed 's/["\\]/\\&/g')\"]}}"
  fi
  job=$(aws s3control create-job --account-id "$account" --description "$description" --priority 10 \
    --role-arn "$(value .BulkRole)" --no-confirmation-required --query JobId --output text \
    --operation "LambdaInvoke={FunctionArn=$function,InvocationSchemaVersion=2.0}" \
    --manifest-generator "S3JobManifestGenerator={ExpectedBucketOwner=$account,$generator}" \
    --report "Bucket=arn:aws:s3:::$reports,ExpectedBucketOwner=$account,$report")
}

# Check the bucket, the table and the stack.
connect
[[ ${BUCKET-} ]] || die "BUCKET is empty." "Repeat with it: make label-bucket BUCKET=my-photos"
[[ $OUT == *.@(csv|jsonl) ]] || die "OUT=$OUT: the table of a bucket is a .csv or .jsonl file."
function=$(value .BulkFunction) reports=$(value .BulkReports) buckets=$(value S3Buckets)
[[ $function && ,$buckets, == *,"$BUCKET",* ]] ||
  die "no stack $STACK in $AWS_DEFAULT_REGION has a function for buckets that may read $BUCKET." \
    "Run: make deploy PARAMETERS=\"Bulk=yes S3Buckets=${buckets:+$buckets,}$BUCKET\""
region=$(aws s3api get-bucket-location --bucket "$BUCKET" --query "LocationConstraint || 'us-east-1'" --output text)
[[ $region == "$AWS_DEFAULT_REGION" ]] ||
  die "the bucket is in $region, the stack in $AWS_DEFAULT_REGION." "Deploy there: AWS_REGION=$region make deploy"

# Find the last job for this bucket and prefix, or start one.
description="Labels of s3://$BUCKET/$PREFIX by $STACK" description=${description:0:256}
read -r job state < <(aws s3control list-jobs --account-id "$account" --output text --query \
  "sort_by(Jobs[?Description=='${description//\'/\\\'}'], &CreationTime)[-1].[JobId, Status] || ['', '']")
if [[ $state == @(Complete|Failed|Cancelled) ]]; then
  read -rp "A job for these photos has ended ($state). Fetch its labels, or start a new job? [f/n] " answer || true
  if [[ $answer == n* ]]; then job=; fi
fi
if [[ ! $job ]]; then start; fi

# Show its progress until it ends.
trap 'echo; echo "Ctrl-C does not stop the job $job. The same command finds it again."; exit 130' INT
counts="ProgressSummary.[TotalNumberOfTasks, NumberOfTasksSucceeded, NumberOfTasksFailed] || ['0', '0', '0']"
while true; do
  read -r state total succeeded failed reasons < <(aws s3control describe-job --account-id "$account" --job-id "$job" \
    --output text --query "Job.[[Status], $counts, FailureReasons[].FailureReason || ['']] | []")
  echo "$state: $((succeeded + failed)) of $total, $failed failed"
  if [[ $state == @(Complete|Failed|Cancelled) ]]; then break; fi
  sleep "$POLL"
done
[[ $state == Complete ]] || echo "The job ended before all photos were labelled: $state. $reasons" >&2

aws s3 cp --quiet --recursive "s3://$reports/labels/job-$job/results/" "$tmp/report"
bulk merge "$tmp/report" "$OUT"
[[ $state == Complete ]]
