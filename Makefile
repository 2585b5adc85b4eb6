# From a folder of photos to a REST API on AWS Lambda. `make` alone lists the targets and the variables.
$(if $(filter 4.3% 4.4% 4.5% 4.6% 5%,$(MAKE_VERSION)),,$(error GNU Make 4.3 or newer is needed, this is \
  $(MAKE_VERSION); on macOS: brew install make, then use gmake))
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

##@ Variables, set by `make NAME=value …` or in the environment
DATASET ?= clothing             ## the photos: clothing (3,781 photos, 10 labels) or drawn (rendered, no download)
DATA ?=                         ## your own photos instead: a folder with <label>/ or {train,validation,test}/<label>/
DATA_MIRROR ?= ../shared/data   ## folder searched for the archive of photos before it is downloaded
EXTRA ?=                        ## index.csv of further training photos, such as data/worn/index.csv (worn garments)
BACKBONE ?= efficientnet-lite2  ## also -lite0, -lite1, inception_v3, any name of keras.applications
BACKBONE_WEIGHTS ?=             ## a local Keras weights file for BACKBONE instead of its download
TRAIN_FLAGS ?=                  ## flags for scripts/train.py, such as "--epochs 0" (head only)
QUANTIZE ?= int8                ## number format of model.tflite: int8, float16, float32
MODEL ?= $(DEFAULT_MODEL)       ## model to report on, predict with, deploy: your own if there is one, else the released
IMAGE ?=                        ## photos, folders and URLs for `make predict` and `make docker-test`
RUNTIME ?= ai-edge-litert       ## interpreter to predict with, or tflite-runtime (Python 3.10 or 3.11 only)
PORT ?= 8080                    ## port that `make serve` and `make docker-run` listen on
ARCH ?= $(DEFAULT_ARCH)         ## processor of the image: x86_64 or arm64; unset, this computer's
BASE_IMAGE ?= $(LAMBDA_IMAGE)   ## image to build on: unset, Lambda's for Python, pinned
CONTAINER ?= clothes-classifier ## name of the container, and of its image
STACK ?= clothes                ## name of the service on AWS; AWS_REGION and AWS_PROFILE say where
PARAMETERS ?=                   ## parameters of lambda/template.yaml to set, "Memory=3008 LogDays=7"
PYTHON ?= python3               ## Python (3.10 or newer) that the virtual environments are made with
export TF_CPP_MIN_LOG_LEVEL ?= 3
export TF_ENABLE_ONEDNN_OPTS ?= 1# CPUs without AVX-512 train a quarter faster with oneDNN, too

# The model that this run builds, if it builds one; whatever uses MODEL waits for it. Any other MODEL is taken as it is.
GOALS := $(value MAKECMDGOALS)
BUILT_MODEL := $(if $(filter convert model.tflite artifacts/model.tflite,$(GOALS)),artifacts/model.tflite)
DEFAULT_MODEL = $(firstword $(BUILT_MODEL) $(wildcard artifacts/model.tflite) artifacts/release/model.tflite)
DEFAULT_ARCH = $(if $(filter arm64 aarch64,$(shell uname -m)),arm64,x86_64)
LAMBDA_IMAGE = public.ecr.aws/lambda/python:$(if $(filter tflite%,$(RUNTIME)),3.11.2024.11.22.15,3.13.2026.06.05.14)
include scripts/functions.mk
$(call settle,$(shell sed -n 's/^\([A-Z_]*\) ?=.*/\1/p' Makefile) $(call command_line,$(.VARIABLES)))
$(call check_names,DATASET BACKBONE QUANTIZE RUNTIME ARCH)

##@ Targets
.PHONY: help data data-worn train convert model.tflite report release bench predict serve docker-run \
  docker-test docker-stop deploy deploy-plan deploy-status logs rollback undeploy test clean distclean FORCE

# Photos. Each folder's index.csv is written last, so it stands for the folder.
INDEX := data/$(if $(DATA),own,$(DATASET))/index.csv
INDEX_CODE := scripts/common.py scripts/training/index.py
TRAIN := .venv/train/bin/python -u
data: $(INDEX) ## the photos and their index
data/clothing/index.csv: scripts/download_data.py $(INDEX_CODE) | .venv/train/.installed
	$(TRAIN) $< --mirror $(call quote,$(DATA_MIRROR)) --output $@
data/drawn/index.csv: scripts/draw_data.py $(INDEX_CODE) | .venv/train/.installed
	$(TRAIN) $< --output $@
data/own/index.csv: scripts/index_folder.py scripts/serving.py lambda/preprocess.py $(INDEX_CODE) data/.own \
  lambda/image_checks.py | .venv/train/.installed
	$(TRAIN) $< --input $(call quote,$(DATA)) --output $@
# The names, sizes and dates of the files in DATA.
$(call track,data/.own,$$(DATA) $$(if $$(DATA),$$(shell ls -lRL -- $$(call quote,$$(DATA)) 2>&1 | cksum)))

# Training and conversion.
BACKBONE_FILE := data/backbones/$(BACKBONE).keras
SHARED := $(wildcard scripts/training/*.py) scripts/common.py scripts/serving.py \
  lambda/model.py lambda/preprocess.py lambda/image_checks.py
data/backbones/%.keras: scripts/fetch_backbone.py scripts/training/efficientnet_lite.py scripts/common.py \
  data/backbones/.% | .venv/train/.installed
	$(TRAIN) $< $* $(if $(data/backbones/.$*),--weights $(call quote,$(data/backbones/.$*))) --output $@
$(foreach name,$(sort $(BACKBONE) efficientnet-lite0 efficientnet-lite2),\
  $(call track,data/backbones/.$(name),$$(if $$(filter $(name),$$(BACKBONE)),$$(BACKBONE_WEIGHTS))))
train: artifacts/model.keras ## the Keras model, artifacts/model.keras
artifacts/model.keras: scripts/train.py $(SHARED) $(INDEX) $(BACKBONE_FILE) artifacts/.train | .venv/train/.installed
	$(TRAIN) $< --index $(INDEX) $(EXTRA_FLAG) --backbone $(BACKBONE_FILE) --output $@ $(call quote_words,$(TRAIN_FLAGS))
EXTRA_FLAG := $(if $(EXTRA),--extra $(call quote,$(EXTRA)))
EXTRA_STATE = $(if $(EXTRA),$(EXTRA) $(shell cksum 2>/dev/null <$(call quote,$(EXTRA))))
$(call track,artifacts/.train,$$(INDEX) $$(BACKBONE) $$(TRAIN_FLAGS) $$(EXTRA_STATE))
artifacts/.train artifacts/.report: $(filter data/worn/index.csv,$(EXTRA))
convert: artifacts/model.tflite ## the TensorFlow Lite model, artifacts/model.tflite
artifacts/model.tflite: scripts/convert.py $(SHARED) artifacts/model.keras $(INDEX) artifacts/.convert \
  | .venv/train/.installed
	$(TRAIN) $< --index $(INDEX) --model artifacts/model.keras --quantize $(QUANTIZE) --output $@
$(call track,artifacts/.convert,$$(QUANTIZE))
model.tflite: artifacts/model.tflite ## all of the above: from nothing to artifacts/model.tflite
include scripts/release.mk

# The report and the benchmark. MODEL counts by its content.
AWAITED_MODEL := $(filter $(MODEL),$(BUILT_MODEL))
$(call track,artifacts/.model,$$(MODEL) $$(shell cksum 2>/dev/null <$$(call quote,$$(MODEL))))
artifacts/.model: $(AWAITED_MODEL)
report: artifacts/report/report.html ## artifacts/report/report.html: accuracy, calibration, mistakes of MODEL
artifacts/report/report.html: scripts/evaluate.py $(wildcard scripts/report/* scripts/labelling/*.py) $(SHARED) \
  $(INDEX) artifacts/.model artifacts/.report | .venv/train/.installed
	$(TRAIN) $< --index $(INDEX) $(EXTRA_FLAG) --model $(call quote,$(MODEL)) --output $@
$(call track,artifacts/.report,$$(INDEX) $$(EXTRA_STATE))
# The older interpreter is measured and tested too where it has a wheel for PYTHON.
OLD_RUNTIME := $(if $(filter test bench artifacts/bench/bench.md,$(GOALS)),$(if $(filter 3.10 3.11,$(shell \
  $(call quote,$(PYTHON)) -c 'import sys; print("%d.%d" % sys.version_info[:2])')),.venv/tflite-runtime/.installed))
bench: artifacts/bench/bench.md ## artifacts/bench/bench.md: the released models beside other engines, measured
artifacts/bench/bench.md: $(wildcard scripts/bench/*.py lambda/*.py artifacts/release/*.tflite) $(SHARED) \
  tests/photos/pants/jeans.jpg | .venv/bench/.installed .venv/ai-edge-litert/.installed $(OLD_RUNTIME)
	PYTHONPATH=scripts .venv/bench/bin/python -m bench --output $@

# Predictions on this machine. IMAGE is one photo if there is a file or folder of that name, else a list with spaces.
SERVE := .venv/$(RUNTIME)/bin/python
PHOTOS = $(if $(shell [[ -e $(call quote,$(IMAGE)) ]] && echo one),$(call quote,$(IMAGE)),$(call quote_words,$(IMAGE)))
predict: scripts/predict.py $(AWAITED_MODEL) | .venv/$(RUNTIME)/.installed ## label IMAGE with MODEL
	@$(SERVE) $< --model $(call quote,$(MODEL)) -- $(or $(PHOTOS),$(error IMAGE is empty: make predict IMAGE=a.jpg))
serve: scripts/serve.py $(AWAITED_MODEL) | .venv/$(RUNTIME)/.installed ## the API and its page on this computer
	@$(SERVE) $< --model $(call quote,$(MODEL)) --port $(call quote,$(PORT))

# The container. The image's file holds its id, and is stale also if the engine no longer has the image.
REQUIREMENTS := $(if $(filter tflite%,$(RUNTIME)),lambda/requirements-tflite-runtime.txt,requirements-serve.txt)
IMAGE_CODE := lambda/Dockerfile $(wildcard lambda/*.py lambda/*.html lambda/openapi.json)
docker-run: scripts/docker.sh artifacts/image.iid ## start the function as on Lambda, with MODEL
	@$(call env,MODEL CONTAINER PORT) $< run artifacts/image.iid
docker-test: scripts/test_lambda.py $(if $(IMAGE),,$(INDEX)) ## ask the container about IMAGE; unset, the test photos
	@$(call quote,$(PYTHON)) $< --url http://127.0.0.1:$(call quote,$(PORT))/2015-03-31/functions/function/invocations \
	  -- $(or $(PHOTOS),$(INDEX))
docker-stop: scripts/docker.sh ## stop the container
	@$(call env,CONTAINER) $< stop
artifacts/image.iid: scripts/docker.sh $(IMAGE_CODE) $(REQUIREMENTS) artifacts/.model artifacts/.image \
  | .venv/ai-edge-litert/.installed
	$(call env,MODEL CONTAINER BASE_IMAGE RUNTIME ARCH REQUIREMENTS) $< build $@
$(call track,artifacts/.image,$$(BASE_IMAGE) $$(ARCH) $$(RUNTIME) $$(IMAGE_CODE))
artifacts/image.iid: $(if $(filter docker-run deploy deploy-plan artifacts/image.iid,$(GOALS)),$(if $(shell \
  docker image inspect -f ok $(file <artifacts/image.iid) 2>/dev/null),,FORCE))

# The service on AWS.
deploy: ## the image with MODEL to AWS Lambda, behind a public URL; FORCE=1 takes a model of drawn data too
deploy-plan: ## show what `make deploy` would change on AWS
deploy deploy-plan: scripts/deploy.sh artifacts/image.iid | .venv/aws/.installed
	@$(call env,STACK PARAMETERS MODEL) $< $(if $(filter %-plan,$@),--plan)
deploy-status: ## state, URL and parameters of what is on AWS
logs: ## the function's log: the last hour, then what comes
rollback: ## let the previous version serve again, at once
undeploy: ## delete all of it from AWS; asks first
deploy-status logs rollback undeploy: scripts/aws/stack.sh | .venv/aws/.installed
	@$(call env,STACK) $< $(@:deploy-%=%)

# Environments. The lists with hashes are complete, so nothing else is installed for them.
HASHED := requirements-serve.txt lambda/requirements-tflite-runtime.txt
.venv/train/.installed: requirements-serve.txt requirements-train.txt
.venv/ai-edge-litert/.installed: requirements-serve.txt
.venv/tflite-runtime/.installed: lambda/requirements-tflite-runtime.txt
.venv/bench/.installed: requirements-serve.txt requirements-train.txt scripts/bench/requirements.txt
.venv/aws/.installed: lambda/requirements-deploy.txt
.venv/aws-tests/.installed: tests/aws/requirements.txt
PIP_INSTALL = $(@D)/bin/python -m pip install --quiet --disable-pip-version-check
.venv/%/.installed:
	$(call quote,$(PYTHON)) -m venv $(if $^,$(@D),$(error there is no environment called $*))
	$(addprefix $(PIP_INSTALL) --no-deps --require-hashes -r ,$(filter $(HASHED),$^))
	$(if $(filter-out $(HASHED),$^),$(PIP_INSTALL) $(addprefix -r ,$(filter-out $(HASHED),$^)))
	touch $@
.venv/train/.tests-installed: tests/requirements.txt | .venv/train/.installed
	$(PIP_INSTALL) -r $<
	touch $@
TEST_ENVIRONMENTS := ai-edge-litert label mediapipe aws aws-tests
test: | .venv/train/.tests-installed $(TEST_ENVIRONMENTS:%=.venv/%/.installed) $(OLD_RUNTIME) ## all the tests
	$(TRAIN) -m pytest --numprocesses 2 --dist loadfile
include scripts/label.mk scripts/fuzz.mk
##@ Cleaning
clean: ## remove what was built; photos, backbones and environments stay
	find artifacts -mindepth 1 -maxdepth 1 ! -name release -exec rm -rf {} +
distclean: clean ## remove also the photos, the backbones and the environments; your own photos (DATA) are never touched
	rm -rf .venv data/clothing data/drawn data/own data/worn data/backbones data/wheels data/.own

help: ## this text
	@awk 'function row(name, more) { sub(/.* ## /, ""); printf "  %-17s %s%s\n", name, $$0, more } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[A-Z_]+ \?=.* ## / { row($$1, $$3 ~ /^(##|\$$)/ ? "" : " [" $$3 "]") } \
	  /^[a-z.-]+:.* ## / { split($$0, part, ":"); row(part[1], "") }' $(MAKEFILE_LIST)
