"""The report as one HTML page: what it shows (`benchmark.pages.view`), and its template, all of it escaped."""
