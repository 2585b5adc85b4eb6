##@ Labels for many photos
OUT ?= labels.csv               ## table that `make label` writes: .csv, .jsonl or .parquet
UNSURE ?= 0                     ## number of uncertain photos on a page to correct by hand, beside OUT
BUCKET ?=                       ## S3 bucket that `make label-bucket` labels, into OUT
PREFIX ?=                       ## the start of the keys in BUCKET to label, such as summer/; unset, all
$(call settle,OUT UNSURE BUCKET PREFIX)

.PHONY: label label-bucket model.onnx
label: scripts/label.py $(AWAITED_MODEL) | .venv/label/.installed ## label all of IMAGE on every core; resumes
	@.venv/label/bin/python $< --model $(call quote,$(MODEL)) --output $(call quote,$(OUT)) \
	  --unsure $(call quote,$(UNSURE)) -- $(or $(PHOTOS),$(error IMAGE is empty: make label IMAGE=folder))

label-bucket: scripts/aws/label_bucket.sh | .venv/aws/.installed ## label all of BUCKET on AWS, with the deployed model
	@$(call env,BUCKET PREFIX OUT STACK) $<

# The float network for other runtimes, such as those of GPUs.
model.onnx: artifacts/model.onnx ## artifacts/model.onnx: your own model in ONNX, in floating point
artifacts/model.onnx: scripts/export_onnx.py $(SHARED) artifacts/model.keras artifacts/model.tflite $(INDEX) \
  | .venv/train/.onnx-installed
	$(TRAIN) $< --index $(INDEX) --model artifacts/model.keras --tflite artifacts/model.tflite --output $@
.venv/train/.onnx-installed: scripts/requirements-onnx.txt | .venv/train/.installed
	$(PIP_INSTALL) -r $<
	touch $@

# The interpreter names dependencies that only its compilers need, so pip must not look for them.
.venv/label/.installed: PIP_INSTALL += --no-deps
.venv/label/.installed: requirements-serve.txt scripts/labelling/requirements.txt
.venv/mediapipe/.installed: tests/mediapipe/requirements.txt
