"""Every figure: from a table, in inches, on canvas.py.

* canvas.py: the canvas, its texts and colours; read this first
* rows.py: what figures of rows share; level_names.py: what rows are called
* ablation_chart.py: effects side by side; ladder.py: steps; interaction.py: pairs
* collapse.py: lost runs; cost.py: time and parameters; learning_curves.py
* robustness_chart.py, attack_picture.py: attacks
* interpretation_curves.py, interpretation_maps.py: looking inside
"""
