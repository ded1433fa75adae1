"""The style sheet of the page, for light and dark mode, narrow screens and print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LIGHT: Final[Mapping[str, str]] = {
    "bg": "#ffffff",
    "fg": "#1b1f24",
    "soft": "#545c66",
    "line": "#d3d8de",
    "panel": "#f4f6f8",
    "link": "#0b5cad",
    "affirming": "#1b7f5c",
    "warning": "#945600",
    "warning-ground": "#f2c063",
    "contraindicated": "#b3261e",
    "contraindicated-line": "#ffd9d6",
    "none": "#5a4a9c",
    "none-ground": "#c9c0ee",
    "unreadable": "#3d444c",
    "unreadable-ground": "#b9c0c8",
    "mark": "#ffe08a",
}
DARK: Final[Mapping[str, str]] = {
    "bg": "#14171a",
    "fg": "#e7eaed",
    "soft": "#a9b1ba",
    "line": "#3b424a",
    "panel": "#1e2227",
    "link": "#82b9ff",
    "affirming": "#4cbf8c",
    "warning": "#f0b84a",
    "warning-ground": "#6b4b0a",
    "contraindicated": "#ff7d73",
    "contraindicated-line": "#5a1410",
    "none": "#b6a8f7",
    "none-ground": "#4a3f80",
    "unreadable": "#c7ced5",
    "unreadable-ground": "#59616a",
    "mark": "#6a5200",
}
"""Colors by name. Each, except grounds, lines and `mark`, has a contrast of 4.5 or more as text on `bg` and on `panel`
(WCAG 2.2, 1.4.3).
"""


def _variables(colors: Mapping[str, str]) -> str:
    return ":root{" + ";".join(f"--{name}:{value}" for name, value in colors.items()) + "}"


_LAYOUT: Final = """
:root{color-scheme:light dark}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--fg);font:1rem/1.5 system-ui,"Segoe UI",Roboto,"Noto Sans",sans-serif}
header,nav,main,footer{max-width:72rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.5rem}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .3rem}
h2{font-size:1.3rem;line-height:1.25;margin:0 0 .6rem;padding-top:1.2rem;border-top:2px solid var(--line)}
h3{font-size:1.05rem;margin:1.2rem 0 .4rem}
section{margin:1.6rem 0 2.4rem}
p{margin:.4rem 0 .8rem;max-width:46rem}
td p,th p{margin:.2rem 0}
small{color:var(--soft);font-size:.82em;font-weight:400}
a{color:var(--link)}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.86em}
code,bdi{overflow-wrap:anywhere;unicode-bidi:isolate}
.x{overflow-wrap:break-word}
pre{white-space:pre-wrap;background:var(--panel);padding:.7rem .9rem;border-radius:6px;margin:.4rem 0}
mark{background:var(--mark);color:inherit;text-decoration:underline;font-weight:700}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.skip{position:absolute;left:-999rem}
.skip:focus{left:1rem;top:.5rem;background:var(--bg);padding:.5rem;z-index:1}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;margin:.8rem 0 0}
nav ul{padding:.6rem .9rem;background:var(--panel);border-radius:6px}
nav small{padding-left:.25rem}
.status{border-left:6px solid var(--fg);background:var(--panel);padding:.7rem 1rem;max-width:none}
.status strong{font-size:1.25rem;display:block}.status small{display:block;margin-top:.2rem}
.status-affirming{border-color:var(--affirming)}.status-affirming strong{color:var(--affirming)}
.status-contraindicated{border-color:var(--contraindicated)}.status-contraindicated strong{color:var(--contraindicated)}
.status-unreadable{border-color:var(--unreadable)}
@media (min-width:64rem){
#result{display:grid;grid-template-columns:minmax(0,11fr) minmax(0,9fr);gap:0 2.2rem}
#result>*{grid-column:1/-1}#result>.scroll,#result>.scroll~p{grid-column:1}
#result>dl{grid-column:2;grid-row:3/span 2;margin-top:.8rem}
#result>dl>div{grid-template-columns:1fr;padding:.2rem 0 .35rem}#result dt{font-weight:600;font-size:.92rem}
}
.cards,.marks{list-style:none;padding:0;margin:.8rem 0 1rem}
.card{border:1px solid var(--line);border-left:6px solid var(--soft);border-radius:6px;padding:.7rem 1rem .8rem;
margin:0 0 1rem;scroll-margin-top:1rem}
.c-contraindicated{border-left-color:var(--contraindicated)}.c-warning{border-left-color:var(--warning)}
.c-none{border-left-color:var(--none)}
.card .head{margin:0}
.card .what{font-size:1.1rem;line-height:1.35;margin:.15rem 0 .5rem;max-width:54rem}
.card dl{margin:.2rem 0}
.card dl>div{grid-template-columns:6rem minmax(0,1fr);padding:.08rem 0}
.card .plain>li{border-top:1px solid var(--line);padding:.25rem 0}
.remedy{background:var(--panel);border-radius:6px;padding:.5rem .8rem;margin-top:.6rem}
.remedy h4{margin:0;font-size:.92rem}
.remedy p{margin:.1rem 0 0;max-width:54rem}
.badge{display:inline-block;min-width:1.35rem;padding:0 .3rem;border-radius:.7rem;text-align:center;font-weight:700;
font-size:.82rem;line-height:1.35rem;color:var(--bg);background:var(--soft)}
.badge.d-contraindicated{background:var(--contraindicated)}.badge.d-warning{background:var(--warning)}
.badge.d-none{background:var(--none)}
.marks{margin:.3rem 0 .8rem}
.marks li{margin:.25rem 0}
.note{border-left:4px solid var(--unreadable);padding-left:.7rem}
.scroll{overflow:auto;max-height:85vh;margin:.8rem 0 1.2rem;background:
linear-gradient(to right,var(--bg) 40%,transparent) 0 0/2.5rem 100% no-repeat local,
linear-gradient(to left,var(--bg) 40%,transparent) 100% 0/2.5rem 100% no-repeat local,
linear-gradient(to right,var(--line),transparent) 0 0/.9rem 100% no-repeat,
linear-gradient(to left,var(--line),transparent) 100% 0/.9rem 100% no-repeat}
thead{position:sticky;top:0;background:var(--bg)}
table{border-collapse:collapse;width:100%;font-size:.92rem}
caption{text-align:left;font-weight:600;padding-bottom:.4rem;max-width:calc(100vw - 2rem)}
time{white-space:nowrap}
th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid var(--line)}
thead th{border-bottom:2px solid var(--line);color:var(--soft);font-weight:600;font-size:.94em;vertical-align:bottom}
tbody th{font-weight:400}
tfoot th,tfoot td{font-weight:600;border-top:2px solid var(--line)}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
thead .n{white-space:normal}
dl{margin:.6rem 0 1rem}
dl>div{display:grid;grid-template-columns:9.5rem minmax(0,1fr);gap:.2rem .8rem;padding:.15rem 0}
dt{color:var(--soft)}
dd{margin:0}
ul{padding-left:1.3rem}
.plain{list-style:none;padding:0;margin:0}
details{margin:.6rem 0}
summary{cursor:pointer;color:var(--link)}
.entries{list-style:none;padding:0;margin:.6rem 0 1rem}
.entries>li{border-left:3px solid var(--line);padding:.1rem 0 .1rem .9rem;margin:0 0 1.1rem;max-width:60rem}
.e-failures>li{margin-bottom:.8rem}
.head{max-width:none;margin:.2rem 0 .3rem}
.amount{color:var(--soft)}
.entries dl{margin:.1rem 0 .3rem}
.entries dl>div{grid-template-columns:7.5rem minmax(0,1fr);padding:.05rem 0}
.entries .plain>li{border-top:1px solid var(--line);padding:.3rem 0}
.v{white-space:nowrap;font-weight:600}
.v-affirming{color:var(--affirming)}.v-warning{color:var(--warning)}.v-contraindicated{color:var(--contraindicated)}
.v-none{color:var(--none)}.v-unreadable{color:var(--unreadable)}
.t-profiles{min-width:64rem}.t-sources{min-width:54rem}
.t-values,.t-references{min-width:40rem}
.t-values tbody th,.t-references tbody th{min-width:7rem}
.t-counts td:nth-child(3){width:22%}.t-counts td:nth-child(4){color:var(--soft);width:40%}
.t-sources th[scope=row]{min-width:17rem}
.t-other-keys tbody th{min-width:min(13rem,40vw)}
.t-profiles th{width:10rem}.t-profiles td:nth-child(2){min-width:6.5rem}
.t-profiles td:nth-child(7),.t-profiles td:nth-child(8){min-width:6.2rem}
.t-profiles td:nth-child(n+9){min-width:7.5rem}
figure{margin:1rem 0}
figcaption{color:var(--soft);font-size:.9rem;max-width:46rem}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;padding:0;margin:.5rem 0}
.swatch,.bar{vertical-align:middle;border-radius:2px}
.bar{display:block;max-width:14rem;margin-top:.2rem}
td.n .bar{margin-left:auto}
.defs{position:absolute}
.chart{display:block;overflow:visible;margin:.6rem 0 .4rem 3.2rem;width:calc(100% - 4.6rem)}
.chart text{font-size:12px;fill:var(--soft)}
.chart .lane{fill:var(--fg);font-size:13px}
.chart .count{text-anchor:end}
.chart .tick,.chart .mark{text-anchor:middle}
.chart .mark{fill:var(--fg);font-weight:700}
.chart .mark{paint-order:stroke;stroke:var(--bg);stroke-width:5px}
.disc{fill:var(--soft)}.d-contraindicated{fill:var(--contraindicated)}.d-warning{fill:var(--warning)}
.d-none{fill:var(--none)}
.chart .disc-number{fill:var(--bg);font-weight:700;text-anchor:middle;pointer-events:none}
.incident,.lasting{stroke:var(--soft)}.incident{stroke-dasharray:3 4}.lasting{stroke-width:4px;stroke-opacity:.55}
.i-contraindicated{stroke:var(--contraindicated)}.i-warning{stroke:var(--warning)}.i-none{stroke:var(--none)}
.grid{stroke:var(--line)}.axis{stroke:var(--soft)}
.tip{fill:transparent}.tip:hover{fill:var(--fg);fill-opacity:.08}
.track{fill:var(--panel)}
.b-affirming,.l-affirming{fill:var(--affirming)}.b-warning,.l-warning{fill:url(#p-warning)}
.b-contraindicated,.l-contraindicated{fill:url(#p-contraindicated)}.b-none,.l-none{fill:url(#p-none)}
.b-unreadable,.l-unreadable{fill:url(#p-unreadable)}.b-gap{fill:url(#p-gap)}.b-outage{fill:url(#p-outage)}
.f-warning{fill:var(--warning-ground)}.s-warning{stroke:var(--warning)}
.f-contraindicated{fill:var(--contraindicated)}.s-contraindicated{stroke:var(--contraindicated-line)}
.f-none{fill:var(--none)}.s-none{stroke:var(--none-ground)}
.f-unreadable{fill:var(--unreadable)}.s-unreadable{stroke:var(--unreadable-ground)}
.f-gap{fill:var(--panel)}.s-gap,.s-outage{stroke:var(--soft)}
footer{color:var(--soft);font-size:.88rem;padding-bottom:2rem}
@media (max-width:40rem){
.wide,.t-counts th:nth-child(4),.t-counts td:nth-child(4){display:none}
dl>div,.entries dl>div,.card dl>div{grid-template-columns:1fr;padding:.15rem 0}
dt{font-size:.86rem;font-weight:600}
h1{font-size:1.4rem}
.card{padding:.6rem .75rem .7rem}
.stacked,.stacked caption,.stacked tbody,.stacked tfoot,.stacked tr,.stacked th,.stacked td{display:block;
min-width:0!important;width:auto!important}
.stacked thead{position:absolute;left:-999rem;width:20rem}
.stacked .z{display:none}
.stacked tr{border:1px solid var(--line);border-radius:6px;padding:.4rem .7rem;margin:0 0 .7rem}
.stacked th,.stacked td{border:0!important;padding:.12rem 0;text-align:left}
.stacked td[data-label]::before{content:attr(data-label) ": ";color:var(--soft);font-size:.9rem}
.stacked th{font-weight:600!important;margin-bottom:.1rem}
.stacked td.n .bar{margin-left:0}
.chart{margin-left:2.4rem;width:calc(100% - 3.4rem)}
.chart .lane{font-size:12px}
}
@media (prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
@page{margin:14mm 12mm}
@media print{
html{font-size:12.5px}
.chart text,.chart .lane{font-size:10px}
header,nav,main,footer{max-width:none;padding:0}
nav,.skip{display:none}
svg,mark,.status,pre,.badge,.remedy,.card{-webkit-print-color-adjust:exact;print-color-adjust:exact}
.scroll{overflow:visible;max-height:none;background:none}
thead{position:static}
table,th[scope]{min-width:0!important}
table{font-size:8pt}
th,td{padding:.2rem .35rem}
tr,figure,.card,.remedy,.entries>li,.entries>li>p,dl>div{break-inside:avoid}
.card h3,.remedy h4,.head,thead{break-after:avoid}
tbody tr:first-child{break-before:avoid}
.marks a{color:inherit;text-decoration:none}
thead{display:table-header-group}
tfoot{display:table-row-group}
.t-other-keys tbody th{width:24%}
.t-values tbody th code,.t-references tbody th code{white-space:nowrap}
h2,h3,caption{break-after:avoid}
details::details-content{content-visibility:visible;block-size:auto}
}
"""

STYLE: Final = f"{_variables(LIGHT)}\n@media screen and (prefers-color-scheme:dark){{{_variables(DARK)}}}{_LAYOUT}"
