"""Folders that look like the kernel's of three machines, as far as `read_machine` looks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["ORIN", "VIRTUAL", "XAVIER", "lay_out"]

MEMINFO = "MemTotal:        7800000 kB\nMemFree:          300000 kB\nMemAvailable:    3800000 kB\nBuffers: 1 kB\n"
STATUS = "Name:\tpython3\nVmPeak:\t  900000 kB\nVmRSS:\t  250000 kB\nThreads:\t9\n"

# Orin Nano with JetPack 6: one load file behind a link's name, a zone that is off, an input of the board on rail 1.
ORIN: dict[str, str] = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "51281\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "49500\n",
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone2/temp": "-256000\n",
    "sys/class/thermal/thermal_zone8/type": "tj-thermal\n",
    "sys/class/thermal/thermal_zone8/temp": "51812\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "2\n",
    "sys/class/thermal/cooling_device8/type": "cpu-throttle-alert\n",
    "sys/class/thermal/cooling_device8/cur_state": "0\n",
    "sys/class/thermal/cooling_device9/type": "gpu-throttle-alert\n",
    "sys/class/thermal/cooling_device9/cur_state": "1\n",
    "sys/devices/platform/bus@0/17000000.gpu/load": "437\n",
    "sys/class/hwmon/hwmon0/name": "pwmfan\n",
    "sys/class/hwmon/hwmon1/name": "ina3221\n",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN\n",
    "sys/class/hwmon/hwmon1/in1_input": "5000\n",
    "sys/class/hwmon/hwmon1/curr1_input": "1200\n",
    "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV\n",
    "sys/class/hwmon/hwmon1/in2_input": "4900\n",
    "sys/class/hwmon/hwmon1/curr2_input": "400\n",
    "sys/class/hwmon/hwmon1/in3_label": "NC\n",
    "sys/class/hwmon/hwmon1/in3_input": "4900\n",
    "sys/class/hwmon/hwmon1/curr3_input": "0\n",
    "sys/class/hwmon/hwmon1/in7_label": "sum of shunt voltages\n",
    "sys/class/hwmon/hwmon1/in7_input": "9\n",
    "var/lib/nvpmodel/status": "pmode:0002",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
    "proc/meminfo": MEMINFO,
    "proc/self/status": STATUS,
}

# Xavier NX or Nano with JetPack 4: the older driver of the power monitor, and the power supply's constant 100 °C.
XAVIER: dict[str, str] = {
    "sys/class/thermal/thermal_zone0/type": "AO-therm\n",
    "sys/class/thermal/thermal_zone0/temp": "44000\n",
    "sys/class/thermal/thermal_zone1/type": "CPU-therm\n",
    "sys/class/thermal/thermal_zone1/temp": "46500\n",
    "sys/class/thermal/thermal_zone4/type": "PMIC-Die\n",
    "sys/class/thermal/thermal_zone4/temp": "100000\n",
    "sys/class/thermal/cooling_device0/type": "thermal-cpufreq-0\n",
    "sys/class/thermal/cooling_device0/cur_state": "0\n",
    "sys/devices/gpu.0/load": "1000\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0": "POM_5V_IN\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input": "2480\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_1": "POM_5V_GPU\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power1_input": "0\n",
    "var/lib/nvpmodel/status": "pmode:0000 fmode:fanNull\n",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=5W >\n",
    "proc/meminfo": MEMINFO,
    "proc/self/status": STATUS,
}

# A virtual machine has neither sensors nor modes.
VIRTUAL: dict[str, str] = {"proc/meminfo": MEMINFO, "proc/self/status": STATUS}


def lay_out(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write the files below `root`, and return it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root
