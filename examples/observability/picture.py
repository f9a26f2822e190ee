#!/usr/bin/env python3
"""Draws the panels of dashboard.json as one SVG, from what a running Prometheus has seen in the last minutes.

    python3 examples/observability/picture.py --prometheus http://127.0.0.1:9090 --minutes 5

Every query of every panel is evaluated. One that is refused, or that finds nothing, ends the program with the name of its panel.
`--may-be-empty "Reloads and warnings"` is for a panel of which something has not happened yet, as no warning was given.
"""

import argparse
import html
import json
import math
import pathlib
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
# The dashboard is 24 columns wide. One of them is 40 pixels here, and a row of its grid is 27.
COLUMN, ROW, GAP = 40, 27, 4
LEGEND_SERIES, LEGEND_LINE = 6, 15
COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#e08000", "#8250c4", "#17858f"]
OTHERS = "#b8b8b8"
# The units of Grafana that the panels have: what is written above the axis.
UNITS = {"reqps": "requests a second", "suffix:/s": "a second", "s": "seconds", "percentunit": "", "short": ""}


def arguments():
    parser = argparse.ArgumentParser(description="Draws dashboard.json from a running Prometheus.")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--minutes", type=int, default=5, help="how far back to look (5)")
    parser.add_argument("--rate-interval", default="20s", help="stands for $__rate_interval (20s: four scrapes or more)")
    parser.add_argument("--may-be-empty", action="append", default=[], metavar="PANEL", help="may be given several times")
    parser.add_argument("--dashboard", type=pathlib.Path, default=HERE / "dashboard.json")
    parser.add_argument("--output", type=pathlib.Path, default=HERE.parents[1] / "docs" / "dashboard.svg")
    return parser.parse_args()


def without_variables(query, dashboard, options):
    """Returns a query as Grafana sends it while every variable is at "All"."""
    values = {"__rate_interval": options.rate_interval, "__range": f"{options.minutes}m"}
    values |= {variable["name"]: variable["allValue"] for variable in dashboard["templating"]["list"] if "allValue" in variable}
    return re.sub(r"\$(\w+)", lambda name: values.get(name[1], name[0]), query)


def ask(options, query, end):
    """Returns the series that a query finds: their labels, and their values by seconds before the end. NaN is a gap."""
    span = options.minutes * 60
    fields = {"query": query, "start": end - span, "end": end, "step": max(span // 100, 2)}
    url = f"{options.prometheus}/api/v1/query_range?{urllib.parse.urlencode(fields)}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        found = json.load(answer)["data"]["result"]
    for series in found:
        series["values"] = [(at - end, float(value)) for at, value in series["values"]]
    return [series for series in found if any(math.isfinite(value) for _, value in series["values"])]


def series_of(panel, dashboard, options, end):
    """Returns the names and values of the series of a panel, the largest first."""
    named = []
    for target in panel["targets"]:
        query = without_variables(target["expr"], dashboard, options)
        try:
            found = ask(options, query, end)
        except urllib.error.HTTPError as refused:
            sys.exit(f"{panel['title']}: {refused.read().decode()}\n{query}")
        except urllib.error.URLError as error:
            sys.exit(f"{options.prometheus}: {error.reason}")
        if not found and panel["title"] not in options.may_be_empty:
            sys.exit(f"{panel['title']}: the query finds nothing\n{query}")
        for series in found:
            name = re.sub(r"\{\{(\w+)\}\}", lambda label: series["metric"].get(label[1], ""), target["legendFormat"])
            named.append((" ".join(name.split()), series["values"]))
    return sorted(named, key=lambda series: (-highest(series), series[0]))


def highest(series):
    return max(value for _, value in series[1] if math.isfinite(value))


def last(series):
    return next(value for _, value in reversed(series[1]) if math.isfinite(value))


def number(value, unit):
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    return f"{value:.3g}" if value < 1000 else f"{value / 1000:.3g}k"


def text(x, y, words, size=11, colour="#444", more=""):
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" {more}>{html.escape(words)}</text>'


def step_of(top):
    """Returns a round distance of the lines of an axis, so that there are two to five."""
    power = 10 ** math.floor(math.log10(top / 2))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if top / (power * factor) <= 4)


def line(points, colour):
    """Draws a series: a path that is interrupted where there is no value."""
    runs = [[]]
    for x, y in points:
        if math.isfinite(y):
            runs[-1].append((f"{x:.0f}", f"{y:.1f}".removesuffix(".0")))
        else:
            runs.append([])
    drawn = ""
    for run in filter(None, runs):
        # A point between two of the same height is on the line anyway.
        inner = [b for a, b, c in zip(run, run[1:], run[2:]) if not a[1] == b[1] == c[1]]
        drawn += "M" + "L".join(",".join(point) for point in [run[0], *inner, run[-1]])
    return f'<path d="{drawn}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"/>'


def axes(x, y, width, height, minutes, top, unit):
    """Draws the grid of a chart with numbers at its lines: minutes below, values at the left."""
    step, parts = step_of(top), []
    for count in range(int(top / step) + 1):
        at = y + height - height * count * step / top
        parts.append(f'<path d="M{x} {at:.1f}h{width}" stroke="#ddd"/>')
        parts.append(text(x - 5, at + 4, number(count * step, unit), 10, "#666", 'text-anchor="end"'))
    every = max(1, math.ceil(minutes / (width / 65)))
    for ago in range(0, minutes + 1, every):
        label = "now" if ago == 0 else f"−{ago} min"
        parts.append(text(x + width * (1 - ago / minutes), y + height + 14, label, 10, "#666", 'text-anchor="middle"'))
    return parts


def legend(x, y, width, shown, unit):
    """Draws two columns of names, each with its last value."""
    parts = []
    for index, series in enumerate(shown):
        at_x, at_y = x + index % 2 * width // 2, y + index // 2 * LEGEND_LINE
        parts.append(f'<path d="M{at_x} {at_y - 4}h12" stroke="{COLOURS[index]}" stroke-width="3"/>')
        parts.append(text(at_x + 17, at_y, f"{series[0]}: {number(last(series), unit)}", 10))
    return parts


def note(panel, series, shown, unit):
    """Returns what stands beside the title: the unit and the number of series without a name, or the value of a number."""
    if not series:
        return "no data"
    if panel["type"] == "stat":
        return number(last(series[0]), unit) + (" s" if unit == "s" else "")
    others, idle = len(series) - len(shown), sum(highest(each) == 0 for each in series)
    more = f"{others} more" + (" at 0" if others == idle else "")
    return " · ".join(filter(None, [UNITS[unit], more if others else ""]))


def draw(panel, series, minutes):
    """Draws one panel where the dashboard has it."""
    grid, unit, stat = panel["gridPos"], panel["fieldConfig"]["defaults"]["unit"], panel["type"] == "stat"
    # Series that were 0 all the time have a name only if there are no others.
    shown = ([each for each in series if highest(each) > 0] or series)[:LEGEND_SERIES]
    x, y = grid["x"] * COLUMN + GAP, grid["y"] * ROW + GAP
    width, height = grid["w"] * COLUMN - 2 * GAP, grid["h"] * ROW - 2 * GAP
    legend_y = y + height - (0 if stat else (len(shown) + 1) // 2 * LEGEND_LINE)
    left, upper, plot_width, plot_height = x + 58, y + 38, width - 84, legend_y - 62 - y
    top = max(map(highest, series), default=0) * 1.08 or 1

    def place(at, value):
        return left + plot_width * (1 + at / 60 / minutes), upper + plot_height * (1 - value / top)

    parts = [f"<g><title>{html.escape(panel['description'])}</title>"]
    parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="#fff" stroke="#ccc"/>')
    parts.append(text(x + 12, y + 22, panel["title"], 14, "#111", 'font-weight="bold"'))
    parts.append(text(x + width - 12, y + 22, note(panel, series, shown, unit), 17 if stat else 11, "#444", 'text-anchor="end"'))
    parts += axes(left, upper, plot_width, plot_height, minutes, top, unit)
    colours = COLOURS[:len(shown)] + [OTHERS] * len(series)
    parts += [line([place(*value) for value in values], colour) for (_, values), colour in reversed([*zip(series, colours)])]
    return [*parts, *([] if stat else legend(x + 14, legend_y + 5, width - 20, shown, unit)), "</g>"]


def main():
    options, end = arguments(), int(time.time())
    dashboard = json.loads(options.dashboard.read_text())
    width, height = 24 * COLUMN, ROW * max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">']
    # Pages may be dark.
    parts.append(f'<rect width="{width}" height="{height}" fill="#fff"/>')
    for panel in dashboard["panels"]:
        parts += draw(panel, series_of(panel, dashboard, options, end), options.minutes)
    options.output.write_text("\n".join([*parts, "</svg>\n"]))


if __name__ == "__main__":
    main()
