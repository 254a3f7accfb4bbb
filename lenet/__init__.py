"""LeNet-5, ablated: from 1998 to today, with error bars."""
