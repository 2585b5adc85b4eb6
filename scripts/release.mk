# Worn garments as further training photos, and the stages of `make release`: two models trained on the clothes photos
# and on worn garments. A killed run resumes after its last finished epoch.
#   1. The large model learns from the labels.
#   2. The small model learns the probabilities of the large one.

##@ Released models
data-worn: data/worn/index.csv ## further training photos: garments that people wear, cut out of street photos
data/worn/index.csv: scripts/crop_worn.py scripts/download_data.py $(INDEX_CODE) | .venv/train/.installed
	$(TRAIN) $< --mirror $(call quote,$(DATA_MIRROR)) --output $@

release: artifacts/stages/large/model.tflite artifacts/stages/small/model.tflite ## models to release: one to two hours
	cp $< artifacts/release/model.tflite
	cp $(word 2,$^) artifacts/release/model-small.tflite

RELEASE_PHOTOS := data/clothing/index.csv data/worn/index.csv
RELEASE_FLAGS := --index data/clothing/index.csv --extra data/worn/index.csv

# $(call stage,NAME,NETWORK TO START FROM,FLAGS,TEACHER)
define stage
$(call track,artifacts/stages/$1/.flags,$2 $3)
artifacts/stages/$1/model.keras: scripts/train.py $(SHARED) $(RELEASE_PHOTOS) $2 $4 artifacts/stages/$1/.flags \
  | .venv/train/.installed
	$(TRAIN) $$< $(RELEASE_FLAGS) --backbone $2 --output $$@ $3 $(4:%=--teacher %)
artifacts/stages/$1/model.tflite: scripts/convert.py $(SHARED) artifacts/stages/$1/model.keras data/clothing/index.csv
	$(TRAIN) $$< --index data/clothing/index.csv --model artifacts/stages/$1/model.keras --output $$@
endef

$(eval $(call stage,large,data/backbones/efficientnet-lite2.keras,--epochs 9,))
$(eval $(call stage,small,data/backbones/efficientnet-lite0.keras,--size 176x132 --epochs 20,\
  artifacts/stages/large/model.keras))
