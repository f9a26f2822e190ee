// The script as it is sent: its parts are the bodies of functions, but for the first two and the last. A decision needs few
// of those, and only those are made.
concat!(
    include_str!("header.lua"),
    include_str!("stopped.lua"),
    "local function memories()\nlocal function rings()\n",
    include_str!("ring.lua"),
    "end\nlocal ring = rings()\n",
    include_str!("memory.lua"),
    "end\nlocal function cells()\n",
    include_str!("cells.lua"),
    "end\nlocal function refunds(ring, memory)\n",
    include_str!("refund.lua"),
    "end\nlocal function uncommon()\n",
    include_str!("uncommon.lua"),
    "end\n",
    include_str!("decide.lua"),
)
