// The script as it is sent. What a decision rarely needs are parts of one function, for each function costs as it is made.
concat!(
    include_str!("header.lua"),
    "local function part(noun, ring, memory)\nif noun == 'stopped' then\n",
    include_str!("stopped.lua"),
    "elseif noun == 'memory' then\nlocal function rings()\n",
    include_str!("ring.lua"),
    "end\nlocal ring = rings()\n",
    include_str!("memory.lua"),
    "elseif noun == 'cells' then\n",
    include_str!("cells.lua"),
    "elseif noun == 'refund' then\n",
    include_str!("refund.lua"),
    "elseif noun == 'uncommon' then\n",
    include_str!("uncommon.lua"),
    "end\nend\n",
    include_str!("decide.lua"),
)
