"""The page of a study, its tables, and its files.

* study_report.py: a study's figures with their tables; read this first
* study_page.py: the page that shows them, on html_page.py with template.py
* answer_section.py, missed_digits.py, chart_dots.py, reproduction.py,
  exhibit_files.py: parts of that page
* index.py: one page over all studies
* effect_tables.py: tables as CSV, Markdown, LaTeX and HTML
* paper_figures.py: figures as wide as a journal's columns
* own_report.py: the same for anybody's runs
"""
