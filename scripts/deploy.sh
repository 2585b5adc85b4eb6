#!/usr/bin/env bash
# Deploys the container image to AWS Lambda behind an HTTP API, as the CloudFormation stack of lambda/template.yaml.
#   scripts/deploy.sh          make deploy: push, publish a new version, check it, and only then let it serve
#   scripts/deploy.sh --plan   make deploy-plan: show what that would change, and what it costs
# Environment: STACK, its name; PARAMETERS of the template to set ("Memory=3008 LogDays=7"), others keep their values;
# KEY, a name to make a new API key for; NO_KEY, the name of a key to withdraw; IID, the file with the image's id;
# MODEL, what the image holds; PHOTO, <label>/name.jpg for the check; ARCH, if it is to change; FORCE=1 for a model of
# drawn data; API_URL, for a stand-in. It can be interrupted anywhere: repeat it. Needs Docker, curl, python3.
# shellcheck source=scripts/aws/common.sh
source "$(dirname "$0")/aws/common.sh"
# shellcheck source=scripts/aws/release.sh
source "$(dirname "$0")/aws/release.sh"
MODEL=${MODEL:-artifacts/release/model.tflite} IID=${IID:-artifacts/image.iid}
PHOTO=${PHOTO:-tests/photos/pants/jeans.jpg}

# Check all that can be checked beforehand, and print what is about to be deployed.
prepare() {
  local dataset digest
  updatable
  id=$(<"$IID") tag=${id:7:12} live=$(value Live) repository=$(value .RepositoryUri) uri=
  architecture=$(docker image inspect --format '{{.Architecture}}' "$id") ||
    die "Docker does not answer, or has lost the image." "Start it, rm -f $IID, then repeat."
  architecture=${architecture/amd64/x86_64}
  dataset=$(python3 -c 'import json, sys, zipfile
print(json.loads(zipfile.ZipFile(sys.argv[1]).read("metadata.json")).get("dataset"))' "$MODEL")
  [[ $dataset != drawn || ${FORCE-} == 1 ]] ||
    die "$MODEL was trained on drawn data, which is for tests." "Train it on photos, or repeat with FORCE=1."
  if [[ $repository ]]; then
    [[ ${ARCH-} || $(value Architecture) == "$architecture" ]] ||
      die "the stack runs on $(value Architecture), this image is for $architecture." \
        "Repeat with ARCH=$(value Architecture), or with ARCH=$architecture to change the stack."
    digest=$(aws ecr batch-get-image --repository-name "$STACK" --image-ids "imageTag=$tag" \
      --query 'images[0].imageId.imageDigest' --output text)
    if [[ $digest == sha256:* ]]; then uri=$repository@$digest; fi
  fi
  parameters=("Architecture=$architecture")
  if [[ ! $live ]]; then first_parameters; fi
  api_keys
  read -ra given <<<"${PARAMETERS-}"
  parameters+=(${given+"${given[@]}"})
  printf '%-8s %s\n' Account "$account, region $AWS_DEFAULT_REGION" Stack "$STACK, ${status:-new}" \
    Image "$tag for $architecture with $MODEL (data: $dataset)${uri:+, already pushed}" \
    Set "$(sed -E 's/:[0-9a-f]{64}/:…/g' <<<"${parameters[*]}")"
  # shellcheck disable=SC2046  # one word per parameter
  python3 "$(dirname "$0")/aws/costs.py" $(grep -v '^\.' "$tmp/stack") "${parameters[@]}"
}

# Show the change set that a deployment would apply; the image's id stands for its digest, which the push will tell.
plan() {
  local changes
  update lambda/template.yaml --no-execute-changeset --parameter-overrides "ImageUri=${uri:-$STACK@$id}" \
    "Live=${live:-1}" "${parameters[@]}" | tee "$tmp/plan"
  changes=$(grep -o 'arn:[^ ]*' "$tmp/plan") || return 0
  aws cloudformation describe-change-set --stack-name "$STACK" --change-set-name "$changes" --output table \
    --query 'Changes[].ResourceChange.[Action, LogicalResourceId, ResourceType, Replacement]'
  aws cloudformation delete-change-set --stack-name "$STACK" --change-set-name "$changes"
  if [[ ! $status ]]; then aws cloudformation delete-stack --stack-name "$STACK"; fi  # an empty one, made to plan in
  echo "Nothing was changed."
}

push() {
  { aws ecr get-login-password | docker login --username AWS --password-stdin "${repository%%/*}" >/dev/null &&
    docker tag "$id" "$repository:$tag" && docker push "$repository:$tag"; } ||
    die "the push stopped; what serves is as it was." "Check the network, then repeat: the push resumes."
  uri=$(docker image inspect --format '{{join .RepoDigests "\n"}}' "$id" | grep -m 1 "^$repository@")
}

connect; prepare
if [[ ${1-} == --plan ]]; then plan; exit; fi
if [[ ! $repository ]]; then
  update lambda/template.yaml --parameter-overrides ImageUri= "${parameters[@]}"
  repository=$(value .RepositoryUri)
fi
remember
if [[ ! $uri ]]; then push; fi
update lambda/template.yaml --parameter-overrides "ImageUri=$uri" "Live=$live" "${parameters[@]}"
function=$(value .FunctionName)
version=$(publish)
if ! check "$version"; then
  [[ $live ]] || die "version $version failed its check, see above; nothing is served yet." \
    "See make logs and make docker-test, then repeat."
  [[ $version != "$live" ]] || die "version $live, which serves, fails its check." "See make logs, or: make rollback"
  echo "Version $version failed its check: restoring the function as it was."
  update "$tmp/before.yaml" --parameter-overrides "${before[@]}"
  tidy "$live" "$live"
  die "version $version failed its check and was removed; version $live kept serving." "Compare: make docker-test"
fi
if [[ $version != "$live" ]]; then update lambda/template.yaml --parameter-overrides "Live=$version"; fi
warm
tidy "${live:-0}" "$version"
echo "Version $version serves at $url"
if [[ $key ]]; then echo "API key  $KEY: $key   (shown only once; for another: make deploy KEY=<name>)"; fi
echo "Try it:  curl ${keys:+-H 'x-api-key: …' }-H 'Content-Type: image/jpeg' --data-binary @photo.jpg ${url}predict"
