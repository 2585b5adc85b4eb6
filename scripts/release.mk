# The stages of `make release`: models trained by distillation. Each stage continues where it was stopped.
#   1. Two teachers learn from the labels, at two input sizes.
#   2. The soft labels are the teachers' mean probabilities for the augmented photos of each epoch.
#   3. The large student starts from the weights of the better teacher. It is trained on the soft labels, then once more
#      for as long as the validation loss falls.
#   4. The small student is trained at a lower resolution, then on the soft labels of the large student.

# The released models were trained before --lr rose to 1e-3, so the stages set their own peak learning rate.
# $(call stage,NAME,NETWORK TO START FROM,FLAGS,SOFT LABELS)
define stage
$(call track,artifacts/stages/$1/.flags,$2 $3)
artifacts/stages/$1/model.keras: scripts/train.py $(SHARED) $(PHOTOS_INDEX) $2 $4 artifacts/stages/$1/.flags \
  | .venv/train/.installed
	$(TRAIN) $$< --index $(PHOTOS_INDEX) --backbone $2 --output $$@ --lr 3e-4 $3 $(4:%=--soft-labels %)
artifacts/stages/$1/model.tflite: scripts/convert.py $(SHARED) artifacts/stages/$1/model.keras $(PHOTOS_INDEX)
	$(TRAIN) $$< --index $(PHOTOS_INDEX) --model artifacts/stages/$1/model.keras --output $$@
endef
PHOTOS_INDEX := data/clothing/index.csv
TEACH_CODE := scripts/teach.py $(SHARED) $(PHOTOS_INDEX)
SOFT_1 := artifacts/stages/soft-labels-1.npz
SOFT_2 := artifacts/stages/soft-labels-2.npz
STUDENT := --freeze 0 --label-smoothing 0

$(eval $(call stage,teacher-1,data/backbones/efficientnet-lite2.keras,,))
$(eval $(call stage,teacher-2,data/backbones/efficientnet-lite2.keras,--size 384x288 --epochs 10 --seed 2,))
$(SOFT_1): $(TEACH_CODE) artifacts/stages/teacher-1/model.tflite artifacts/stages/teacher-2/model.tflite
	$(TRAIN) $< --index $(PHOTOS_INDEX) --output $@ --teachers $(filter %.tflite,$^)

$(eval $(call stage,large-1,artifacts/stages/teacher-2/model.keras,$(STUDENT) --epochs 8 --patience 8,$(SOFT_1)))
$(eval $(call stage,large,artifacts/stages/large-1/model.keras,$(STUDENT) --epochs 10 --patience 1,$(SOFT_1)))
$(SOFT_2): $(TEACH_CODE) artifacts/stages/large/model.tflite
	$(TRAIN) $< --index $(PHOTOS_INDEX) --output $@ --epochs 7 --seed 2 --teachers $(filter %.tflite,$^)

$(eval $(call stage,small-1,data/backbones/efficientnet-lite0.keras,$(STUDENT) --size 196x148 --epochs 24 \
  --patience 24,$(SOFT_1)))
$(eval $(call stage,small,artifacts/stages/small-1/model.keras,$(STUDENT) --size 224x168 --epochs 14 --patience 14 \
  --seed 2,$(SOFT_2)))
