# From a folder of photos to a REST API on AWS Lambda. `make` alone lists the targets and the variables.
ifeq ($(filter 4.3% 4.4% 4.5% 4.6% 5%,$(MAKE_VERSION)),)
$(error GNU Make 4.3 or newer is needed, this is $(MAKE_VERSION); on macOS: brew install make, then use gmake)
endif
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

##@ Variables, set by `make NAME=value …` or in the environment
## the photos: clothing (3,781 photos, 10 labels) or drawn (rendered, no download)
DATASET ?= clothing
## your own photos instead: a folder with <label>/ or {train,validation,test}/<label>/
DATA ?=
## folder searched for the archive of photos before it is downloaded
DATA_MIRROR ?= ../shared/data
## pre-trained network: efficientnet-lite0, -lite1, -lite2, inception_v3, any name of keras.applications
BACKBONE ?= efficientnet-lite2
## a local Keras weights file for BACKBONE instead of its download
BACKBONE_WEIGHTS ?=
## flags for scripts/train.py, such as "--epochs 0" (head only)
TRAIN_FLAGS ?=
## number format of model.tflite: int8, float16, float32
QUANTIZE ?= int8
## model to report on and predict with: your own if there is one, else the released one
MODEL ?= $(firstword $(wildcard artifacts/model.tflite) artifacts/release/model.tflite)
## what `make predict` and `make docker-test` look at: photos, folders, URLs
IMAGE ?=
## interpreter to predict with: ai-edge-litert, tflite-runtime (Python 3.10 or 3.11 only)
RUNTIME ?= ai-edge-litert
## port that `make serve` and `make docker-run` listen on
PORT ?= 8080
## processor of the image: x86_64 or arm64; unset, this computer's
ARCH ?= $(if $(filter arm64 aarch64,$(shell uname -m)),arm64,x86_64)
## image to build on: unset, Lambda's for Python 3.13 (3.11 with RUNTIME=tflite-runtime), pinned
BASE_IMAGE ?= public.ecr.aws/lambda/python:$(if $(filter tflite%,$(RUNTIME)),3.11.2024.11.22.15,3.13.2026.06.05.14)
## name of the container, and of its image
CONTAINER ?= clothes-classifier
## name of the service on AWS; AWS_REGION and AWS_PROFILE say where, as for every AWS client
STACK ?= clothes
## parameters of lambda/template.yaml to set, "Memory=3008 ApiKey=yes"; the others stay as they are
PARAMETERS ?=
## Python (3.10 or newer) that the virtual environments are made with
PYTHON ?= python3
export TF_CPP_MIN_LOG_LEVEL ?= 3

INDEX := data/$(if $(DATA),own,$(DATASET))/index.csv
BACKBONE_FILE := data/backbones/$(BACKBONE).keras
REPORT := artifacts/report/report.html
TRAIN := .venv/train/bin/python
SERVE := .venv/$(RUNTIME)/bin/python
# The older interpreter is tested and measured where it has a wheel for PYTHON.
TEST_TFLITE_RUNTIME := $(if $(filter test bench artifacts/bench/bench.md,$(MAKECMDGOALS)),$(if $(filter 3.10 3.11,$(shell \
  $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')),.venv/tflite-runtime/.installed))

# $(call track,FILE,VALUE): a rule for FILE, which holds VALUE and is stale when VALUE has changed. The comparison is
# made while parsing, so that `make -n` and `make -q` tell the truth and unchanged flags rebuild nothing.
define track
$1: $(if $(call differ,$(file <$1),$2),FORCE)
	@mkdir -p $$(@D)
	@printf '%s\n' '$(subst ','\'',$2)' >$$@
endef
differ = $(if $(filter 1,$(words $(sort x$(subst $(space),_,$1) x$(subst $(space),_,$2)))),,differ)
empty :=
space := $(empty) $(empty)

##@ Targets
.PHONY: help data train convert model.tflite report release bench predict serve docker-run docker-test \
	docker-stop deploy deploy-plan deploy-status logs undeploy test clean distclean FORCE
## the photos and their index
data: $(INDEX)
## the Keras model, artifacts/model.keras
train: artifacts/model.keras
## the TensorFlow Lite model, artifacts/model.tflite
convert: artifacts/model.tflite
## all of the above: from nothing to artifacts/model.tflite
model.tflite: artifacts/model.tflite
## artifacts/report/report.html: accuracy, confusion, calibration, mistakes of MODEL
report: $(REPORT)
## artifacts/bench/bench.md: the released models beside the reference and other engines, measured
bench: artifacts/bench/bench.md
## label IMAGE with MODEL, which is taken as it is: make predict IMAGE=shirt.jpg
predict: scripts/predict.py | .venv/$(RUNTIME)/.installed
	@$(SERVE) $< --model $(MODEL) $(if $(IMAGE),,$(error IMAGE is empty: make predict IMAGE=shirt.jpg))$(IMAGE)
## the API and its page on this machine, with MODEL, which is taken as it is
serve: scripts/serve.py | .venv/$(RUNTIME)/.installed
	@$(SERVE) $< --model $(MODEL) --port $(PORT)
## start the function in a container, as on Lambda, with MODEL
docker-run: artifacts/image.iid scripts/test_lambda.py
	@echo "model: $(MODEL)"
	@PYTHON=$(PYTHON) scripts/docker.sh run $$(cat $<) $(CONTAINER) $(PORT)
## ask the container about IMAGE; unset, about the test photos
docker-test: scripts/test_lambda.py $(if $(IMAGE),,$(INDEX))
	@$(PYTHON) $< --url http://127.0.0.1:$(PORT)/2015-03-31/functions/function/invocations $(or $(IMAGE),$(INDEX))
## stop the container
docker-stop:
	@scripts/docker.sh stop $(CONTAINER)
## the image with MODEL to AWS Lambda, behind a public URL; FORCE=1 takes a model of drawn data too
deploy: scripts/deploy.sh artifacts/image.iid | .venv/aws/.installed
	@STACK=$(STACK) PARAMETERS="$(PARAMETERS)" MODEL=$(MODEL) IID=artifacts/image.iid $<
## show what `make deploy` would change on AWS
deploy-plan: scripts/deploy.sh artifacts/image.iid | .venv/aws/.installed
	@STACK=$(STACK) PARAMETERS="$(PARAMETERS)" MODEL=$(MODEL) IID=artifacts/image.iid $< --plan
## state, URL and parameters of what is on AWS
deploy-status: scripts/aws/stack.sh | .venv/aws/.installed
	@STACK=$(STACK) $< status
## the function's log: the last hour, then what comes
logs: scripts/aws/stack.sh | .venv/aws/.installed
	@STACK=$(STACK) $< logs
## delete all of it from AWS; asks first
undeploy: scripts/aws/stack.sh | .venv/aws/.installed
	@STACK=$(STACK) $< remove
## every test that this machine can run
test: | .venv/train/.tests-installed .venv/ai-edge-litert/.installed $(TEST_TFLITE_RUNTIME) \
		.venv/aws/.installed .venv/aws-tests/.installed
	$(TRAIN) -m pytest tests

# Environments: one to train and test, one per runtime with just what serving needs.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
.venv/train/.installed: requirements-train.txt requirements-serve.txt
	$(PYTHON) -m venv .venv/train
	$(TRAIN) $(PIP_INSTALL) --no-deps --require-hashes -r requirements-serve.txt
	$(TRAIN) $(PIP_INSTALL) -r $<
	touch $@
.venv/train/.tests-installed: tests/requirements.txt | .venv/train/.installed
	$(TRAIN) $(PIP_INSTALL) -r $<
	touch $@
.venv/ai-edge-litert/.installed: requirements-serve.txt
.venv/tflite-runtime/.installed: lambda/requirements-tflite-runtime.txt
.venv/ai-edge-litert/.installed .venv/tflite-runtime/.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP_INSTALL) --no-deps --require-hashes -r $<
	touch $@

.venv/bench/.installed: scripts/bench/requirements.txt requirements-train.txt requirements-serve.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP_INSTALL) --no-deps --require-hashes -r requirements-serve.txt
	$(@D)/bin/python $(PIP_INSTALL) -r requirements-train.txt -r $<
	touch $@

.venv/aws/.installed: lambda/requirements-deploy.txt
.venv/aws-tests/.installed: tests/aws/requirements.txt
.venv/aws/.installed .venv/aws-tests/.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP_INSTALL) -r $<
	touch $@

# Photos: each folder's index.csv is written last, so it stands for the folder.
data/clothing/index.csv: scripts/download_data.py scripts/common.py scripts/training/index.py | .venv/train/.installed
	$(TRAIN) $< --mirror "$(DATA_MIRROR)" --output $@
data/drawn/index.csv: scripts/draw_data.py $(wildcard scripts/drawing/*.py) scripts/common.py scripts/training/index.py | .venv/train/.installed
	$(TRAIN) $< --output $@
data/own/index.csv: scripts/index_folder.py scripts/common.py scripts/training/index.py scripts/serving.py lambda/preprocess.py data/.own | .venv/train/.installed
	$(TRAIN) $< --input "$(DATA)" --output $@
# What lies in DATA, as names, sizes and dates.
$(eval $(call track,data/.own,$(DATA) $(if $(DATA),$(shell ls -lRL "$(DATA:~/%=$(HOME)/%)" 2>&1 | cksum))))

# Training and conversion.
data/backbones/%.keras: scripts/fetch_backbone.py scripts/common.py data/backbones/.% | .venv/train/.installed
	$(TRAIN) $< $* $(if $(and $(BACKBONE_WEIGHTS),$(filter $*,$(BACKBONE))),--weights "$(BACKBONE_WEIGHTS)") --output $@
$(foreach name,$(sort $(BACKBONE) efficientnet-lite0 efficientnet-lite2),$(eval $(call \
  track,data/backbones/.$(name),weights: $(if $(filter $(name),$(BACKBONE)),$(BACKBONE_WEIGHTS)))))
SHARED_CODE := scripts/common.py scripts/serving.py $(wildcard scripts/training/*.py) lambda/preprocess.py lambda/model.py
TRAIN_CODE := scripts/train.py $(SHARED_CODE)
artifacts/model.keras: $(TRAIN_CODE) $(INDEX) $(BACKBONE_FILE) artifacts/.train | .venv/train/.installed
	$(TRAIN) $< --index $(INDEX) --backbone $(BACKBONE_FILE) --output $@ $(TRAIN_FLAGS)
$(eval $(call track,artifacts/.train,$(INDEX) $(BACKBONE) $(TRAIN_FLAGS)))
CONVERT_CODE := scripts/convert.py $(SHARED_CODE)
artifacts/model.tflite: $(CONVERT_CODE) artifacts/model.keras $(INDEX) artifacts/.convert | .venv/train/.installed
	$(TRAIN) $< --index $(INDEX) --model artifacts/model.keras --quantize $(QUANTIZE) --output $@
$(eval $(call track,artifacts/.convert,$(QUANTIZE)))

# Models to release, by distillation. Two teachers say what they think of the views that the students are trained on.
# The large student starts from what the better teacher has learnt, and goes through the views once more while
# validation gains. The small one learns at a lower resolution first, then from what the large one says. Each stage
# goes on where it was stopped.
# $(call stage,NAME,NETWORK TO START FROM,FLAGS,SOFT LABELS)
define stage
$(call track,artifacts/stages/$1/.flags,$2 $3)
artifacts/stages/$1/model.keras: $(TRAIN_CODE) data/clothing/index.csv $2 $4 artifacts/stages/$1/.flags \
		| .venv/train/.installed
	$(TRAIN) $$< --index data/clothing/index.csv --backbone $2 --output $$@ $3 $(4:%=--soft-labels %)
artifacts/stages/$1/model.tflite: $(CONVERT_CODE) artifacts/stages/$1/model.keras data/clothing/index.csv
	$(TRAIN) $$< --index data/clothing/index.csv --model artifacts/stages/$1/model.keras --output $$@
endef
$(eval $(call stage,teacher-1,data/backbones/efficientnet-lite2.keras,))
$(eval $(call stage,teacher-2,data/backbones/efficientnet-lite2.keras,--size 384x288 --epochs 10 --seed 2))
TEACH_CODE := scripts/teach.py $(SHARED_CODE) data/clothing/index.csv
SOFT_1 := artifacts/stages/soft-labels-1.npz
$(SOFT_1): $(TEACH_CODE) artifacts/stages/teacher-1/model.tflite artifacts/stages/teacher-2/model.tflite
	$(TRAIN) $< --index data/clothing/index.csv --output $@ --teachers $(filter %.tflite,$^)
STUDENT := --freeze 0 --label-smoothing 0
$(eval $(call stage,large-1,artifacts/stages/teacher-2/model.keras,$(STUDENT) --epochs 8 --patience 8,$(SOFT_1)))
$(eval $(call stage,large,artifacts/stages/large-1/model.keras,$(STUDENT) --epochs 10 --patience 1,$(SOFT_1)))
SOFT_2 := artifacts/stages/soft-labels-2.npz
$(SOFT_2): $(TEACH_CODE) artifacts/stages/large/model.tflite
	$(TRAIN) $< --index data/clothing/index.csv --output $@ --epochs 7 --seed 2 --teachers $(filter %.tflite,$^)
$(eval $(call stage,small-1,data/backbones/efficientnet-lite0.keras,$(STUDENT) --size 196x148 --epochs 24 \
  --patience 24,$(SOFT_1)))
$(eval $(call stage,small,artifacts/stages/small-1/model.keras,$(STUDENT) --size 224x168 --epochs 14 --patience 14 \
  --seed 2,$(SOFT_2)))
## models for artifacts/release, by distillation: hours; goes on where it was stopped
release: artifacts/stages/large/model.tflite artifacts/stages/small/model.tflite
	cp $< artifacts/release/model.tflite
	cp $(word 2,$^) artifacts/release/model-small.tflite

# The report.
$(REPORT): scripts/evaluate.py $(wildcard scripts/report/*) $(SHARED_CODE) \
		$(MODEL) $(INDEX) artifacts/.report | .venv/train/.installed
	$(TRAIN) $< --index $(INDEX) --model $(MODEL) --output $@
$(eval $(call track,artifacts/.report,$(MODEL) $(INDEX)))

# The benchmark; its networks are kept in artifacts/bench/networks. To measure again: rm artifacts/bench/bench.md
artifacts/bench/bench.md: $(wildcard scripts/bench/*.py lambda/*.py artifacts/release/*.tflite) scripts/common.py \
		scripts/training/tflite.py tests/photos/pants/jeans.jpg \
		| .venv/bench/.installed .venv/ai-edge-litert/.installed $(TEST_TFLITE_RUNTIME)
	PYTHONPATH=scripts .venv/bench/bin/python -m bench --output $@

# The container. Wheels for the image's Python, C library and processor are downloaded here, so that the image is built
# without a network. The folder's requirements.txt, written last, is what the image installs.
IMAGE_PYTHON := $(if $(filter tflite%,$(RUNTIME)),3.11,3.13)
IMAGE_PLATFORMS := manylinux2014 $(if $(filter 3.13,$(IMAGE_PYTHON)),manylinux_2_27 manylinux_2_28)
WHEELS := data/wheels/$(RUNTIME)-$(ARCH)
data/wheels/ai-edge-litert-$(ARCH)/requirements.txt: requirements-serve.txt
data/wheels/tflite-runtime-$(ARCH)/requirements.txt: lambda/requirements-tflite-runtime.txt
$(WHEELS)/requirements.txt: | .venv/ai-edge-litert/.installed
	rm -rf $(@D)
	.venv/ai-edge-litert/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
	  --only-binary :all: --python-version $(IMAGE_PYTHON) --dest $(@D) \
	  $(IMAGE_PLATFORMS:%=--platform %_$(ARCH:arm64=aarch64)) -r $<
	cp $< $@
# The image's id. The build context is laid out apart, so that only what serving needs is sent to the engine.
IMAGE_CODE := $(filter-out lambda/install.py,$(wildcard lambda/*.py lambda/*.html))
artifacts/image.iid: scripts/docker.sh lambda/Dockerfile lambda/install.py $(IMAGE_CODE) $(MODEL) \
		$(WHEELS)/requirements.txt artifacts/.image
	rm -rf artifacts/image && mkdir -p artifacts/image/code
	cp lambda/Dockerfile lambda/install.py artifacts/image && cp $(IMAGE_CODE) artifacts/image/code
	cp -R $(WHEELS) artifacts/image/wheels && cp $(MODEL) artifacts/image/model.tflite
	$< build --network none --platform linux/$(ARCH:x86_64=amd64) --build-arg BASE_IMAGE=$(BASE_IMAGE) \
	  --build-arg VERSION="$$(git describe --tags --always --dirty 2>/dev/null || echo unknown)" \
	  --build-arg COMMIT="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
	  --tag $(CONTAINER) --iidfile $@ artifacts/image
	rm -rf artifacts/image
$(eval $(call track,artifacts/.image,$(BASE_IMAGE) $(ARCH) $(RUNTIME) $(MODEL) $(IMAGE_CODE)))
# It is stale also where the engine no longer has the image.
ifneq ($(filter docker-run deploy% artifacts/image.iid,$(MAKECMDGOALS)),)
artifacts/image.iid: $(if $(shell docker image inspect -f ok $(file <artifacts/image.iid) 2>/dev/null),,FORCE)
endif

##@ Cleaning
## remove what was built; photos, backbones and environments stay
clean:
	find artifacts -mindepth 1 -maxdepth 1 ! -name release -exec rm -rf {} +
## remove also the photos, the backbones and the environments; your own photos (DATA) are never touched
distclean: clean
	rm -rf .venv data/clothing data/drawn data/own data/backbones data/wheels data/.own

## this text
help:
	@awk '/^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^## / { text = substr($$0, 4); next } \
	  text && /^[A-Z_]+ \?=/ { value = substr($$0, index($$0, "=") + 2); \
	    printf "  %-17s %s%s\n", $$1, text, value && value !~ /\$$/ ? " [" value "]" : "" } \
	  text && /^[a-z.-]+:/ { split($$0, name, ":"); printf "  %-17s %s\n", name[1], text } { text = "" }' Makefile
