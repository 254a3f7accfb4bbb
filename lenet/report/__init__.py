"""The page of a study, its tables, and its files.

* study_report.py: a study's figures with their tables; read this first
* own_report.py: the same for anybody's runs
* exhibit_page.py: a page of figures, of whatever runs; template.py: its markup
* report_sections.py: what the page of a study has besides, and their order
* answer_section.py, missed_digits.py, chart_dots.py, reproduction.py: parts of it
* exhibit_files.py: a figure's files; effect_tables.py: tables as CSV, Markdown,
  LaTeX and HTML; journal_figures.py: figures as wide as a journal's columns
* index.py: one page over all studies; findings_section.py: what they say together, with
  the table of changes in findings.py
"""
