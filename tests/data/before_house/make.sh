# Makes the files of this folder with the program as it was at commit e794d10. Use:
#   PYTHONPATH=OLD_CHECKOUT/src bash make.sh NEW_FOLDER
set -eu
mkdir -p "$1" && cd "$1"
semiovs() { python -m semiovs "$@"; }
python - <<'PYTHON'
from semiovs.datasets.synthetic import WorldSize, write_world

write_world("images", 3, size=WorldSize(labeled=8, unlabeled=3, ood=3, val=2, side=48))
PYTHON
rm -r images/ood-truth
semiovs calibrate data.root=images --teacher small --risk 0.6 --folds 2 --out calibration.json
semiovs label data.root=images ood.images=ood ood.labels=store --teacher small --calibration calibration.json
semiovs train data.root=images data.crop_size=32 data.workers=0 \
    ood.images=ood ood.labels=store ood.confidence=calibrated \
    method.name=unimatch method.conf_thresh=0.3 \
    model.encoder=tiny model.channels=16 'model.dilations=[1,2]' \
    optim.lr=0.01 train.steps=4 train.seed=3 train.batch_size=2 train.precision=fp32 train.device=cpu \
    train.log_every=1 train.eval_every=2 train.save_every=2 run.dir=run run.tensorboard=false
