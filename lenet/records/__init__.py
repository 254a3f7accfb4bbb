"""What a run leaves behind: its sealed record, its weights, the plan it belongs to.

* record_types.py: the keys of a record and of a plan; read this first
* run_record.py: one run's record; seal.py: its SHA-256; plan.py: a study's plan
* store.py: the files of runs, on atomic_files.py, under run_lock.py
* result_message.py: the closing message; overfitting.py: a warning in it
* teachers.py: runs to learn from; own_pictures.py: one's own images
* tracker.py: mirrors to W&B, TensorBoard and MLflow
"""
