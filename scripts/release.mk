# Worn garments as further training photos, and the stages of `make release`: models trained by distillation, on the
# clothes photos and on worn garments. Training continues after its last finished epoch.
#   1. The large model learns from the labels.
#   2. The soft labels are its probabilities for the augmented photos of each epoch and their mirror images.
#   3. The small model learns from the soft labels.

##@ Released models
data-worn: data/worn/index.csv ## further training photos: garments that people wear, cut out of street photos
data/worn/index.csv: scripts/crop_worn.py scripts/download_data.py $(INDEX_CODE) | .venv/train/.installed
	$(TRAIN) $< --mirror $(call quote,$(DATA_MIRROR)) --output $@

release: artifacts/stages/large/model.tflite artifacts/stages/small/model.tflite ## models to release: takes two hours
	cp $< artifacts/release/model.tflite
	cp $(word 2,$^) artifacts/release/model-small.tflite

RELEASE_PHOTOS := data/clothing/index.csv data/worn/index.csv
RELEASE_FLAGS := --index data/clothing/index.csv --extra data/worn/index.csv
SOFT_LABELS := artifacts/stages/soft-labels.npz

# $(call stage,NAME,NETWORK TO START FROM,FLAGS,SOFT LABELS)
define stage
$(call track,artifacts/stages/$1/.flags,$2 $3)
artifacts/stages/$1/model.keras: scripts/train.py $(SHARED) $(RELEASE_PHOTOS) $2 $4 artifacts/stages/$1/.flags \
  | .venv/train/.installed
	$(TRAIN) $$< $(RELEASE_FLAGS) --backbone $2 --output $$@ $3 $(4:%=--soft-labels %)
artifacts/stages/$1/model.tflite: scripts/convert.py $(SHARED) artifacts/stages/$1/model.keras data/clothing/index.csv
	$(TRAIN) $$< --index data/clothing/index.csv --model artifacts/stages/$1/model.keras --output $$@
endef

$(eval $(call stage,large,data/backbones/efficientnet-lite2.keras,--epochs 7,))
$(SOFT_LABELS): scripts/teach.py $(SHARED) $(RELEASE_PHOTOS) artifacts/stages/large/model.tflite
	$(TRAIN) $< $(RELEASE_FLAGS) --output $@ --epochs 4 --teacher $(filter %.tflite,$^)
$(eval $(call stage,small,data/backbones/efficientnet-lite0.keras,--label-smoothing 0 --size 224x168 --epochs 10,\
  $(SOFT_LABELS)))
