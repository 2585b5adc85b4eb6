##@ Fuzzing
MINUTES ?= 10                   ## minutes that `make fuzz` takes
$(call settle,MINUTES)

.PHONY: fuzz
fuzz: tests/fuzz/fuzz.py tests/hostile.py | .venv/fuzz/.installed ## look for images and events that break the API
	.venv/fuzz/bin/python $< --minutes $(call quote,$(MINUTES)) --output artifacts/fuzz
.venv/fuzz/.installed: requirements-serve.txt tests/fuzz/requirements.txt
